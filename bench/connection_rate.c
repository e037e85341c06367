/* Opens connections through a NAT as fast as it can, with reused source ports, and checks every answer.
 *
 *     connection_rate server ADDRESS FIRST_PORT PORTS [--close-first]
 *     connection_rate client ADDRESS FIRST_PORT PORTS SECONDS [OPTION=VALUE...]
 *
 * The server listens on PORTS consecutive ports, TCP and UDP. It answers each
 * request of 8 bytes (a tag) with 14: the address and the port it saw, in
 * network order, and the tag. With --close-first it closes a TCP connection
 * after its answer, before the client does.
 *
 * The client keeps a number of connections under way, each to a port of the
 * server chosen at random: connect, tag, answer, close. A port block of a NAT
 * is used once per destination, so PORTS says how many times over. Options:
 *
 *     name=TEXT           comes back in every report
 *     protocol=tcp|udp    udp: one datagram and its answer on a socket of its own (default tcp)
 *     at-once=N           connections under way (default 32)
 *     rate=N              at most N new ones a second (default 0: no limit)
 *     source=LOW-HIGH     source ports, chosen at random, used again at once (default: the kernel's choice)
 *     close=reset|client|server   who closes, and how (default reset); server: start the server with --close-first
 *     public=A.B.C.D      the address the server must see
 *     block=LOW-HIGH      the ports the server must see
 *     timeout=SECONDS     a connection is given up after that (default 3)
 *     every=SECONDS       time between reports (default 1)
 *
 * A report is one line of JSON. Counts are of the time since the report before;
 * the last one has "total": true and counts of the whole run:
 *     ok        answered, and the answer was right
 *     leaks     the server saw an address or port outside of public and block
 *     foreign   the answer was for another client
 *     refused   reset or refused
 *     timeouts  given up
 *     local     no socket, or the source port was still taken
 *     late      answers to an earlier, given up datagram of this client (not counted as anything else)
 *     p50, p99  milliseconds until established (TCP) or answered (UDP), of those that are ok
 *
 * Exit status: 1 after a leak or a foreign answer, 2 for wrong arguments, else 0.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 1 << 16, MAX_PORTS = 1024, EVENTS = 256, TAG_BYTES = 8, BURST = 64 };

struct __attribute__((packed)) answer {
    uint32_t address;
    uint16_t port;
    uint64_t tag;
};

static const int yes = 1;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void fail(const char *what) {
    perror(what);
    exit(2);
}

static void refuse(const char *what, const char *value) {
    fprintf(stderr, "connection_rate: %s: %s (see the head of connection_rate.c)\n", what, value);
    exit(2);
}

static struct sockaddr_in endpoint(const char *address, int port) {
    struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &result.sin_addr) != 1)
        refuse("not an IPv4 address", address);
    return result;
}

static void watch(int poll, int operation, int fd, uint32_t events, uint32_t value) {
    struct epoll_event event = {.events = events, .data.u32 = value};
    if (epoll_ctl(poll, operation, fd, &event))
        fail("epoll_ctl");
}

static void raise_file_limit(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < MAX_FD ? limit.rlim_max : MAX_FD;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Closes without a trace: RST instead of FIN, no TIME_WAIT. */
static void reset_on_close(int fd) {
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* ---- server ---- */

enum role { CONNECTION, LISTENER, DATAGRAMS };

static enum role roles[MAX_FD];
static struct sockaddr_in peers[MAX_FD];

static int open_server(const char *address, int port, int kind) {
    struct sockaddr_in local = endpoint(address, port);
    int fd = socket(AF_INET, kind | SOCK_NONBLOCK, 0);
    if (fd < 0)
        fail("socket");
    int bytes = 8 << 20;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
    if (bind(fd, (struct sockaddr *)&local, sizeof local) || (kind == SOCK_STREAM && listen(fd, 4096)))
        fail("bind");
    return fd;
}

static struct answer answer_to(const struct sockaddr_in *peer, const void *tag) {
    struct answer answer = {.address = peer->sin_addr.s_addr, .port = peer->sin_port};
    memcpy(&answer.tag, tag, TAG_BYTES);
    return answer;
}

static void accept_all(int poll, int listener) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    int fd;
    while ((fd = accept4(listener, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) {
            close(fd);
            continue;
        }
        roles[fd] = CONNECTION;
        peers[fd] = peer;
        watch(poll, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)fd);
    }
}

static void answer_datagrams(int fd) {
    char request[2048];
    struct sockaddr_in peer;
    for (int count = 0; count < BURST; count++) {
        socklen_t length = sizeof peer;
        if (recvfrom(fd, request, sizeof request, 0, (struct sockaddr *)&peer, &length) < TAG_BYTES)
            return;
        struct answer answer = answer_to(&peer, request);
        /* A full buffer loses an answer, as a network may. */
        (void)!sendto(fd, &answer, sizeof answer, 0, (struct sockaddr *)&peer, length);
    }
}

static void answer_connection(int fd, bool close_first) {
    char request[64];
    ssize_t length = read(fd, request, sizeof request);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length >= TAG_BYTES) {
        struct answer answer = answer_to(&peers[fd], request);
        (void)!write(fd, &answer, sizeof answer);
        if (!close_first)
            return;
    }
    close(fd);
}

static void serve(const char *address, int first, int ports, bool close_first) {
    int poll = epoll_create1(0);
    for (int port = first; port < first + ports; port++) {
        int listener = open_server(address, port, SOCK_STREAM), datagrams = open_server(address, port, SOCK_DGRAM);
        roles[listener] = LISTENER;
        roles[datagrams] = DATAGRAMS;
        watch(poll, EPOLL_CTL_ADD, listener, EPOLLIN, (uint32_t)listener);
        watch(poll, EPOLL_CTL_ADD, datagrams, EPOLLIN, (uint32_t)datagrams);
    }
    puts("listening");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = (int)events[i].data.u32;
            if (roles[fd] == LISTENER)
                accept_all(poll, fd);
            else if (roles[fd] == DATAGRAMS)
                answer_datagrams(fd);
            else
                answer_connection(fd, close_first);
        }
    }
}

/* ---- client ---- */

enum style { RESET, CLIENT_FIRST, SERVER_FIRST };

static struct {
    const char *name, *address;
    int first, ports, at_once, low, high, block_low, block_high;
    bool udp;
    enum style style;
    uint32_t public;
    double seconds, rate, timeout, every;
} options = {.name = "", .at_once = 32, .block_high = 65535, .timeout = 3, .every = 1};

enum step { IDLE, CONNECTING, ASKED, CLOSING };

struct slot {
    enum step step;
    int fd, source, port;
    double started, established;
    uint64_t tag;
};

struct counts {
    long ok, leaks, foreign, refused, timeouts, local, late;
};

static struct counts recent, total;

/* Milliseconds, in tenths: a histogram takes the same room however long the run is. */
enum { TENTHS = 40000 };
static long recent_latency[TENTHS], total_latency[TENTHS];

/* Which source port is in use to which of the server's ports. */
static bool *in_use;
static uint64_t next_tag;
static uint64_t client_bits;

static bool *use_of(const struct slot *slot) {
    return &in_use[(size_t)slot->source * (size_t)options.ports + (size_t)(slot->port - options.first)];
}

static double percentile(const long *histogram, long count, double share) {
    long seen = 0;
    for (int tenth = 0; tenth < TENTHS; tenth++)
        if ((seen += histogram[tenth]) > (long)((double)count * share))
            return tenth / 10.0;
    return 0;
}

static void report(double at, double seconds, const struct counts *c, const long *latency, bool last) {
    printf("{\"name\": \"%s\", \"total\": %s, \"at\": %.1f, \"rate\": %.0f, \"ok\": %ld, \"leaks\": %ld, \"foreign\": %ld, "
           "\"refused\": %ld, \"timeouts\": %ld, \"local\": %ld, \"late\": %ld, \"p50\": %.1f, \"p99\": %.1f}\n",
           options.name, last ? "true" : "false", at, (double)c->ok / seconds, c->ok, c->leaks, c->foreign, c->refused,
           c->timeouts, c->local, c->late, percentile(latency, c->ok, 0.5), percentile(latency, c->ok, 0.99));
    fflush(stdout);
}

static void add_up(void) {
    const long *from = (const long *)&recent;
    long *to = (long *)&total;
    for (size_t i = 0; i < sizeof recent / sizeof(long); i++)
        to[i] += from[i];
    for (int tenth = 0; tenth < TENTHS; tenth++)
        total_latency[tenth] += recent_latency[tenth];
    memset(&recent, 0, sizeof recent);
    memset(recent_latency, 0, sizeof recent_latency);
}

static void end(struct slot *slot) {
    close(slot->fd);
    *use_of(slot) = false;
    slot->step = IDLE;
}

static bool choose_ports(struct slot *slot) {
    for (int attempt = 0; attempt < 50; attempt++) {
        slot->port = options.first + (int)(random() % options.ports);
        slot->source = options.low ? options.low + (int)(random() % (options.high - options.low + 1)) : 0;
        if (!slot->source || !*use_of(slot))
            return true;
    }
    return false;
}

static bool open_slot(struct slot *slot) {
    struct sockaddr_in server, local = {.sin_family = AF_INET};
    if (!choose_ports(slot))
        return false;
    slot->fd = socket(AF_INET, (options.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK, 0);
    if (slot->fd < 0)
        return false;
    if (options.style == RESET && !options.udp)
        reset_on_close(slot->fd);
    server = endpoint(options.address, slot->port);
    local.sin_port = htons((uint16_t)slot->source);
    setsockopt(slot->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if ((slot->source && bind(slot->fd, (struct sockaddr *)&local, sizeof local)) ||
        (connect(slot->fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)) {
        close(slot->fd);
        return false;
    }
    *use_of(slot) = true;
    return true;
}

static bool ask(struct slot *slot) {
    slot->step = ASKED;
    return send(slot->fd, &slot->tag, TAG_BYTES, MSG_NOSIGNAL) == TAG_BYTES;
}

static void start(int poll, struct slot *slot, uint32_t index) {
    if (!open_slot(slot)) {
        recent.local++;
        return;
    }
    slot->started = slot->established = now();
    slot->tag = client_bits | ++next_tag;
    slot->step = CONNECTING;
    watch(poll, EPOLL_CTL_ADD, slot->fd, options.udp ? EPOLLIN : EPOLLOUT, index);
    if (options.udp && !ask(slot)) {
        recent.local++;
        end(slot);
    }
}

static void check(const struct slot *slot, const struct answer *answer) {
    int port = ntohs(answer->port);
    if ((options.public && answer->address != options.public) || port < options.block_low || port > options.block_high) {
        char text[INET_ADDRSTRLEN];
        inet_ntop(AF_INET, &answer->address, text, sizeof text);
        fprintf(stderr, "%s: leak: the server saw %s:%d\n", options.name, text, port);
        recent.leaks++;
    } else if (answer->tag != slot->tag) {
        recent.foreign++;
    } else {
        double tenths = ((options.udp ? now() : slot->established) - slot->started) * 1e4;
        recent_latency[tenths < TENTHS - 1 ? (int)tenths : TENTHS - 1]++;
        recent.ok++;
    }
}

static void on_answer(struct slot *slot) {
    struct answer answer;
    if (recv(slot->fd, &answer, sizeof answer, 0) != sizeof answer) {
        recent.refused++;
        end(slot);
        return;
    }
    if (options.udp && answer.tag != slot->tag && answer.tag >> 40 == client_bits >> 40) {
        recent.late++;
        return;
    }
    check(slot, &answer);
    if (options.udp || options.style == RESET) {
        end(slot);
        return;
    }
    if (options.style == CLIENT_FIRST)
        shutdown(slot->fd, SHUT_WR);
    slot->step = CLOSING;
}

static void on_connected(int poll, struct slot *slot, uint32_t index) {
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    slot->established = now();
    if (error || !ask(slot)) {
        recent.refused++;
        end(slot);
        return;
    }
    watch(poll, EPOLL_CTL_MOD, slot->fd, EPOLLIN, index);
}

static void on_closing(struct slot *slot) {
    char rest[64];
    ssize_t length = read(slot->fd, rest, sizeof rest);
    if (length == 0 || (length < 0 && errno != EAGAIN))
        end(slot);
}

static void give_up(struct slot *slot) {
    recent.timeouts++;
    if (!options.udp)
        reset_on_close(slot->fd);
    end(slot);
}

static void parse(const char *argument) {
    const char *equals = strchr(argument, '=');
    if (!equals)
        refuse("not OPTION=VALUE", argument);
    const char *value = equals + 1;
    size_t length = (size_t)(equals - argument);
#define IS(text) (length == strlen(text) && !strncmp(argument, text, length))
    bool good = true;
    if (IS("name"))
        options.name = value;
    else if (IS("protocol"))
        good = (options.udp = !strcmp(value, "udp")) || !strcmp(value, "tcp");
    else if (IS("at-once"))
        good = (options.at_once = atoi(value)) > 0;
    else if (IS("rate"))
        options.rate = atof(value);
    else if (IS("source"))
        good = sscanf(value, "%d-%d", &options.low, &options.high) == 2 && options.high >= options.low;
    else if (IS("close")) {
        options.style = !strcmp(value, "client") ? CLIENT_FIRST : !strcmp(value, "server") ? SERVER_FIRST : RESET;
        good = options.style != RESET || !strcmp(value, "reset");
    } else if (IS("public"))
        good = inet_pton(AF_INET, value, &options.public) == 1;
    else if (IS("block"))
        good = sscanf(value, "%d-%d", &options.block_low, &options.block_high) == 2;
    else if (IS("timeout"))
        good = (options.timeout = atof(value)) > 0;
    else if (IS("every"))
        good = (options.every = atof(value)) > 0;
    else
        good = false;
    if (!good)
        refuse("unknown option or value", argument);
}

static int run_client(void) {
    int poll = epoll_create1(0);
    struct slot *slots = calloc((size_t)options.at_once, sizeof *slots);
    in_use = calloc(65536 * (size_t)options.ports, sizeof *in_use);
    client_bits = (uint64_t)getpid() << 40;
    srandom((unsigned)getpid());
    double began = now(), reported = began;
    double started = 0;
    for (;;) {
        double time = now();
        if (time - began >= options.seconds)
            break;
        for (int i = 0; i < options.at_once; i++) {
            if (slots[i].step != IDLE && time - slots[i].started > options.timeout)
                give_up(&slots[i]);
            if (slots[i].step == IDLE && (options.rate == 0 || started < (time - began) * options.rate)) {
                started++;
                start(poll, &slots[i], (uint32_t)i);
            }
        }
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll, events, EVENTS, 1);
        for (int i = 0; i < count; i++) {
            uint32_t index = events[i].data.u32;
            struct slot *slot = &slots[index];
            if (slot->step == CONNECTING)
                on_connected(poll, slot, index);
            else if (slot->step == ASKED)
                on_answer(slot);
            else if (slot->step == CLOSING)
                on_closing(slot);
        }
        if (time - reported >= options.every) {
            report(time - began, time - reported, &recent, recent_latency, false);
            add_up();
            reported = time;
        }
    }
    add_up();
    report(now() - began, now() - began, &total, total_latency, true);
    return total.leaks || total.foreign;
}

int main(int count, char **arguments) {
    raise_file_limit();
    if (count < 5)
        refuse("too few arguments", count > 1 ? arguments[1] : "none");
    const char *address = arguments[2];
    int first = atoi(arguments[3]), ports = atoi(arguments[4]);
    if (first < 1 || ports < 1 || ports > MAX_PORTS || first + ports > 65536)
        refuse("not a range of ports", arguments[4]);
    if (!strcmp(arguments[1], "server"))
        serve(address, first, ports, count > 5 && !strcmp(arguments[5], "--close-first"));
    if (strcmp(arguments[1], "client") || count < 6)
        refuse("neither server nor client with SECONDS", arguments[1]);
    options.address = address;
    options.first = first;
    options.ports = ports;
    options.seconds = atof(arguments[5]);
    for (int i = 6; i < count; i++)
        parse(arguments[i]);
    return run_client();
}
