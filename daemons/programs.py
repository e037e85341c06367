"""Programs of other packages that VPN gateways and interconnects run, with their Debian packages."""

from __future__ import annotations

CHARON = "/usr/lib/ipsec/charon"
NFT = "nft"
VPN_PACKAGES = "strongswan-charon strongswan-swanctl libstrongswan-standard-plugins libcharon-extra-plugins nftables"

BFDD, BGPD = "bfdd", "bgpd"
# In the order they start: the others need zebra (which tells them of interfaces, and one of the other).
FRR_DAEMONS = ("zebra", BFDD, BGPD)
FRR_PROGRAM = "/usr/lib/frr/{}"
FRR_PACKAGES = "frr"
