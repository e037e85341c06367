"""Disk images of virtual machines: Debian from its own packages, built once and kept.

Two for each release: `bare` is Debian with SSH and the archives of the packages
that the appliance depends on, so that `apt install` works there without a
network; `tools` is the same after `make setup`, for the tour and the packet
tests. Both are built in a chroot, natively, and kept in CACHE until what they
are made of changes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("SLUICE_APPLIANCE_CACHE", "/var/cache/sluice-appliance-tests"))
SOURCES = "/root/sluice"
_MIRROR = "http://deb.debian.org/debian"
_SIZE = "12G"

# Besides Debian's base: SSH to get in, and what a customer's machine is made of.
_BASE = (
    "systemd", "systemd-sysv", "dbus", "udev", "ifupdown", "iproute2", "iputils-ping", "openssh-server",
    "ca-certificates", "udhcpc", "ethtool",
)  # fmt: skip
_KERNEL = ("linux-image-amd64", "apparmor")
# They would work beside the tests.
_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer", "dpkg-db-backup.timer")

# QEMU's user network: away from every prefix that the tests use.
NETWORK, _ADDRESS, _ROUTER, _RESOLVER = "192.168.250.0/24", "192.168.250.15/24", "192.168.250.2", "192.168.250.3"
_INTERFACES = f"""
auto lo
iface lo inet loopback
auto eth0
iface eth0 inet static
  address {_ADDRESS}
  gateway {_ROUTER}
"""

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PIP_CONFIGURATION = ("/etc/pip.conf", "/etc/xdg/pip")


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release: its number and code name."""

    number: int
    name: str


RELEASES = {name: Release(number, name) for number, name in ((12, "bookworm"), (13, "trixie"))}


@dataclass(frozen=True, slots=True)
class Image:
    """A raw disk with one ext4 file system, its kernel and initial RAM disk, and the private key for SSH as root."""

    disk: Path
    kernel: Path
    initrd: Path
    key: Path


def bare(release: Release) -> Image:
    """Debian, and the archives of what the package depends on. Raises CalledProcessError."""
    return _cached(f"{release.name}-bare", _digest(), lambda tree: _build_bare(release, tree))


def tools(release: Release) -> Image:
    """`bare` after `make setup` in SOURCES. Raises CalledProcessError."""
    made_of = ("Makefile", ".ci/packages", ".ci/unpacked", "requirements.txt", "setup.cfg", "pyproject.toml")
    return _cached(f"{release.name}-tools", _digest(*made_of), lambda tree: _build_tools(release, tree))


def _digest(*files: str) -> str:
    """A digest of this module, of what the package depends on, and of `files` of the repository."""
    parts = [Path(__file__).read_bytes(), " ".join(dependencies()).encode()]
    parts += [(ROOT / file).read_bytes() for file in files]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def dependencies() -> list[str]:
    """The Debian packages that the appliance's package depends on or recommends."""
    return relations((ROOT / "deploy" / "debian" / "control").read_text(), ("Depends", "Recommends"))


def relations(control: str, fields: Sequence[str]) -> list[str]:
    """Package names in relationship fields of a control file (deb-control(5)), first alternatives only."""
    unfolded = re.sub(r"\n[ \t]+", " ", re.sub(r"^#.*\n", "", control, flags=re.MULTILINE))
    found: list[str] = []
    for line in unfolded.splitlines():
        field, _, value = line.partition(":")
        if field in fields:
            found += [re.split(r"[|(\[<]", one)[0].strip() for one in value.split(",")]
    return [name for name in found if name and not name.startswith("${")]


def _cached(name: str, digest: str, build: Callable[[Path], None]) -> Image:
    """The image `name` from CACHE; `build` fills a directory tree when it is not there or of another digest."""
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = CACHE / f"{name}-{digest}"
    image = Image(folder / "disk.img", folder / "vmlinuz", folder / "initrd", folder / "key")
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return image
        # Left by a build that was killed, or of another digest.
        for old in CACHE.glob(f"{name}-*"):
            shutil.rmtree(old)
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=CACHE))
        tree = work / "tree"
        tree.mkdir()
        build(tree)
        _make_bootable(tree, work)
        shutil.rmtree(tree)
        work.rename(folder)
    return image


def _build_bare(release: Release, tree: Path) -> None:
    _run("debootstrap", "--variant=minbase", f"--include={','.join(_BASE)}", release.name, str(tree), _MIRROR)
    _start_nothing(tree)
    _in_chroot(tree, "apt-get", "update", "-qq")
    _in_chroot(tree, "apt-get", "install", "-y", "-qq", *_KERNEL)
    # Kept in /var/cache/apt/archives, where apt finds them later.
    _in_chroot(tree, "apt-get", "install", "-y", "-qq", "--download-only", *dependencies())


def _build_tools(release: Release, tree: Path) -> None:
    _build_bare(release, tree)
    copy_sources(ROOT, tree / SOURCES.lstrip("/"))
    _in_chroot(tree, "apt-get", "install", "-y", "-qq", "make")
    for configuration in filter(os.path.exists, _PIP_CONFIGURATION):
        target = tree / configuration.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        _run("cp", "-rT", configuration, str(target))
    _in_chroot(tree, "make", "-C", SOURCES, "setup")


def copy_sources(root: Path, target: Path) -> None:
    """Copy the files of a work tree to `target`: those git tracks, and new ones that it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root, stdout=subprocess.PIPE, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        source = root / name
        if source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def _start_nothing(tree: Path) -> None:
    """Have packages start no service while they are installed (invoke-rc.d(8))."""
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)


def _make_bootable(tree: Path, folder: Path) -> None:
    """Configure the tree for QEMU and make the disk of it."""
    (tree / "usr/sbin/policy-rc.d").unlink()
    for configuration in _PIP_CONFIGURATION:
        _run("rm", "-rf", str(tree / configuration.lstrip("/")))
    _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key"))
    (tree / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(folder / "key.pub", tree / "root/.ssh/authorized_keys")
    (tree / "etc/fstab").write_text("/dev/vda / ext4 defaults 0 1\n")
    (tree / "etc/network/interfaces").write_text(_INTERFACES)
    (tree / "etc/hostname").write_text("appliance\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost appliance\n")
    (tree / "etc/resolv.conf").write_text(f"nameserver {_RESOLVER}\n")
    for timer in _TIMERS:
        (tree / "etc/systemd/system" / timer).symlink_to("/dev/null")
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(folder / "disk.img"), _SIZE)
    for name, pattern in (("vmlinuz", "vmlinuz-*"), ("initrd", "initrd.img-*")):
        shutil.copy(max((tree / "boot").glob(pattern)), folder / name)


def _in_chroot(tree: Path, *command: str) -> None:
    """Run a command in the tree, in mounts of its own: they end with it, whatever ends it."""
    shutil.copy("/etc/resolv.conf", tree / "etc/resolv.conf")
    mounts = ["mount -t proc proc proc", "mount --rbind /sys sys", "mount --rbind /dev dev"]
    if Path(_CERTIFICATES).exists():
        mounts.append(f"mount --bind {_CERTIFICATES} {_CERTIFICATES.lstrip('/')}")
    for folder in _local_package_folders():
        mounts.append(f"mkdir -p {folder.lstrip('/')} && mount --bind {folder} {folder.lstrip('/')}")
    environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
    script = " && ".join(("cd $0", *mounts, 'exec chroot . "$@"'))
    _run("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, str(tree), *command, env=environment)


def _local_package_folders() -> list[str]:
    """Folders of this host that pip takes packages from, by its configuration."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout
    named = re.findall(r"(?:file://|['\s])(/[\w./-]+)", listed)
    roots = {str(Path(name).parent if Path(name).name == "simple" else Path(name)) for name in named}
    return sorted(root for root in roots if Path(root).is_dir())


def _run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command silently. Raises CalledProcessError with the end of what it said."""
    done = subprocess.run(
        command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-40:]))
        raise subprocess.CalledProcessError(done.returncode, command)
