/* A load generator for one gateway, in one thread, so fast that it is never the bound.
 *
 *     load --port PORT --requests FILE [--tls] [--connections N] [--seconds S] [--warmup S]
 *          [--rate R] [--fresh] [--handshakes] [--wait-open] [--spread S] [--opening N]
 *
 * FILE holds one or more HTTP/1.1 requests, each behind a line with its length in bytes; they are
 * sent in turn. Without --rate each connection sends its next as soon as an answer has ended. With
 * it, R a second are due, evenly, and wait for a connection where none is free: a time is measured
 * from when the request was due, so a gateway that stalls does not hide what it delays.
 *
 * --fresh takes a new connection for each request, --handshakes opens and closes connections and
 * sends nothing. --spread staggers the connections' first requests over so many seconds, and
 * --opening bounds how many are being opened at once. --wait-open measures when every connection
 * has had the first chunk of a stream.
 *
 * Writes "begin" and "end" as the measured time begins and ends, then one line of JSON. Times are
 * in microseconds. A chunk is what the upstream has marked: "~t" and the time when it was due.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 16384
#define STAMP_DIGITS 16
#define REOPEN_AFTER 20000 /* microseconds, after a failure */
#define OPEN_SECONDS 60    /* --wait-open goes on without the rest then */

struct request {
    char *data;
    size_t len;
};

enum state { CLOSED, CONNECTING, HANDSHAKE, IDLE, BUSY };
enum body { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, TO_END };

struct connection {
    int fd, opening, waits_for_room;
    enum state state;
    SSL *ssl;
    uint64_t not_before; /* of opening it again, or of its first request */
    const struct request *request;
    size_t sent;
    uint64_t due, last_chunk; /* of this request; 0: none yet */
    /* The answer. */
    enum body body;
    int status, last, line_len;
    uint64_t left;
    char head[HEAD_BYTES];
    size_t head_len;
    int mark; /* how much of a chunk's mark has been seen */
    uint64_t stamp;
    int streamed; /* has ever had a chunk */
};

struct samples {
    uint32_t *values;
    size_t len, room;
};

static int port, connections = 16, fresh, handshakes_only, wait_open, opening_most = 32, tls;
static double seconds = 5, warmup = 1, rate, spread;
static struct request *requests;
static int requests_len, requests_next;

static int poller, timer, opening, measuring, streamed, open_now, open_most;
static SSL_CTX *tls_context;
static struct connection *all;
static struct connection **idle; /* with --rate */
static int idle_len;
static uint64_t *waiting; /* due times that no connection was free for */
static size_t waiting_len, waiting_at, waiting_room;
static uint64_t rate_began, rate_sent;
static uint64_t answers, chunks, broken, refused, handshakes, received, whole_streams;
static int statuses[600];
static struct samples latency, first_chunk, delay, gap;
static char buffer[262144], protocol[64] = "none";

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void fail(const char *why) {
    fprintf(stderr, "load: %s\n", why);
    exit(1);
}

static void *must(void *memory) {
    if (!memory) fail("no memory");
    return memory;
}

static void add_sample(struct samples *s, uint64_t value) {
    if (!measuring) return;
    if (s->len == s->room) {
        s->room = s->room ? s->room * 2 : 65536;
        s->values = must(realloc(s->values, s->room * sizeof *s->values));
    }
    s->values[s->len++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* ---- Connections ---- */

static void watch(struct connection *c, int for_room) {
    if (c->waits_for_room == for_room) return;
    c->waits_for_room = for_room;
    struct epoll_event e = {.events = for_room ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void stop_opening(struct connection *c) {
    if (c->opening) opening--;
    c->opening = 0;
}

static void close_connection(struct connection *c, uint64_t pause) {
    if (c->state == CLOSED) return;
    if (c->state == BUSY && c->last_chunk) open_now--;
    if (c->state == IDLE)
        for (int i = 0; i < idle_len; i++)
            if (idle[i] == c) {
                idle[i] = idle[--idle_len];
                break;
            }
    stop_opening(c);
    if (c->ssl) SSL_free(c->ssl);
    c->ssl = NULL;
    close(c->fd);
    c->state = CLOSED;
    c->not_before = pause ? now() + pause : 0;
}

static void failed(struct connection *c) {
    if (measuring) broken++;
    ERR_clear_error();
    close_connection(c, REOPEN_AFTER);
}

static void open_connection(struct connection *c) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail("no more files can be opened");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->state = CONNECTING;
    c->opening = 1;
    c->waits_for_room = 1;
    c->head_len = 0;
    opening++;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &e);
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS)
        failed(c);
}

/* What a read or write came to: above 0 bytes, 0 to wait, -1 the end. */
static ssize_t result(struct connection *c, ssize_t n) {
    if (n > 0) return n;
    if (!c->ssl) return n < 0 && errno == EAGAIN ? 0 : -1;
    int why = SSL_get_error(c->ssl, (int)n);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

/* ---- Requests ---- */

static void write_on(struct connection *c) {
    while (c->sent < c->request->len) {
        const char *from = c->request->data + c->sent;
        size_t len = c->request->len - c->sent;
        ssize_t n = c->ssl ? SSL_write(c->ssl, from, len > 1 << 20 ? 1 << 20 : (int)len)
                           : send(c->fd, from, len, MSG_NOSIGNAL);
        if ((n = result(c, n)) <= 0) {
            if (n) failed(c);
            else watch(c, 1);
            return;
        }
        c->sent += (size_t)n;
    }
    watch(c, 0);
}

static void send_request(struct connection *c, uint64_t due) {
    c->state = BUSY;
    c->request = &requests[requests_next];
    if (++requests_next == requests_len) requests_next = 0;
    c->sent = 0;
    c->due = due;
    c->last_chunk = 0;
    c->body = HEAD;
    c->head_len = 0;
    c->mark = 0;
    write_on(c);
}

static void became_free(struct connection *c) {
    c->state = IDLE;
    if (handshakes_only) {
        close_connection(c, 0);
    } else if (!rate) {
        uint64_t t = now();
        if (c->not_before <= t) send_request(c, t);
    } else if (waiting_at < waiting_len) {
        send_request(c, waiting[waiting_at++]);
    } else {
        idle[idle_len++] = c;
    }
}

static void opened(struct connection *c) {
    if (c->ssl && !strcmp(protocol, "none"))
        snprintf(protocol, sizeof protocol, "%s %s", SSL_get_version(c->ssl), SSL_get_cipher(c->ssl));
    stop_opening(c);
    watch(c, 0);
    if (measuring) handshakes++;
    became_free(c);
}

static void go_on_opening(struct connection *c) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t len = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error) {
            failed(c);
            return;
        }
        if (!tls) {
            opened(c);
            return;
        }
        c->state = HANDSHAKE;
        c->ssl = must(SSL_new(tls_context));
        SSL_set_fd(c->ssl, c->fd);
        SSL_set_tlsext_host_name(c->ssl, "localhost");
        SSL_set_connect_state(c->ssl);
    }
    int n = SSL_do_handshake(c->ssl);
    if (n == 1) opened(c);
    else if (result(c, n) < 0) failed(c);
    else watch(c, SSL_want_write(c->ssl));
}

static void send_due(void) {
    uint64_t t = now();
    for (;;) {
        uint64_t due = rate_began + (uint64_t)((double)rate_sent * 1e6 / rate);
        if (due > t) {
            struct itimerspec when = {.it_value = {.tv_sec = (time_t)(due / 1000000),
                                                   .tv_nsec = (long)(due % 1000000) * 1000}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
            return;
        }
        rate_sent++;
        if (idle_len) {
            struct connection *c = idle[--idle_len];
            send_request(c, due);
        } else {
            if (waiting_at == waiting_len) waiting_at = waiting_len = 0;
            if (waiting_len == waiting_room) {
                waiting_room = waiting_room ? waiting_room * 2 : 4096;
                waiting = must(realloc(waiting, waiting_room * sizeof *waiting));
            }
            waiting[waiting_len++] = due;
        }
    }
}

/* ---- Answers ---- */

static void chunk_came(struct connection *c, uint64_t t) {
    if (!c->last_chunk) {
        if (++open_now > open_most) open_most = open_now;
        add_sample(&first_chunk, t - c->due);
    } else {
        add_sample(&gap, t - c->last_chunk);
    }
    if (!c->streamed) streamed++;
    c->streamed = 1;
    c->last_chunk = t;
    if (measuring) chunks++;
    add_sample(&delay, t > c->stamp ? t - c->stamp : 0);
}

static void look_for_chunks(struct connection *c, const char *p, size_t len, uint64_t t) {
    const char *end = p + len;
    while (p < end) {
        if (c->mark == 0) {
            p = memchr(p, '~', (size_t)(end - p));
            if (!p) return;
            p++, c->mark = 1;
        } else if (c->mark == 1) {
            c->mark = *p == 't' ? 2 : 0;
            c->stamp = 0;
            if (c->mark) p++;
        } else if (*p >= '0' && *p <= '9') {
            c->stamp = c->stamp * 10 + (uint64_t)(*p++ - '0');
            if (++c->mark == 2 + STAMP_DIGITS) {
                c->mark = 0;
                chunk_came(c, t);
            }
        } else {
            c->mark = 0;
        }
    }
}

static void answered(struct connection *c, uint64_t t) {
    if (c->last_chunk) open_now--;
    if (measuring) {
        answers++;
        statuses[c->status < 600 ? c->status : 599]++;
        if (c->status != 200) refused++;
        if (c->last_chunk) whole_streams++;
        add_sample(&latency, t - c->due);
    }
    c->last_chunk = 0;
    if (c->last || fresh) {
        c->state = HANDSHAKE; /* busy no more, and not free */
        close_connection(c, c->status == 200 ? 0 : REOPEN_AFTER);
    } else {
        became_free(c);
    }
}

static int read_head(struct connection *c) {
    char *line = c->head;
    c->status = atoi(line + 9);
    c->body = TO_END;
    c->last = 0;
    while ((line = strstr(line, "\r\n")) && line[2] != '\r') {
        line += 2;
        if (!strncasecmp(line, "content-length:", 15)) {
            c->body = LENGTH;
            c->left = strtoull(line + 15, NULL, 10);
        } else if (!strncasecmp(line, "transfer-encoding: chunked", 26)) {
            c->body = CHUNK_SIZE;
            c->left = 0;
            c->line_len = 0;
        } else if (!strncasecmp(line, "connection: close", 17)) {
            c->last = 1;
        }
    }
    return c->status >= 100 && c->status < 200; /* another head follows */
}

/* Takes what has come; 1 when the answer has ended. */
static int take(struct connection *c, const char *p, size_t len, uint64_t t) {
    const char *end = p + len;
    while (p < end || (c->body == LENGTH && !c->left)) {
        size_t n = (size_t)(end - p);
        if (c->body == HEAD) {
            if (c->head_len == HEAD_BYTES - 1) fail("an answer's head is too large");
            c->head[c->head_len++] = *p++;
            if (c->head[c->head_len - 1] != '\n' || c->head_len < 4 ||
                memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4))
                continue;
            c->head[c->head_len] = 0;
            if (read_head(c)) c->body = HEAD;
            c->head_len = 0;
        } else if (c->body == LENGTH || c->body == CHUNK_DATA) {
            if (n > c->left) n = (size_t)c->left;
            look_for_chunks(c, p, n, t);
            p += n;
            if ((c->left -= n) == 0) {
                if (c->body == LENGTH) return 1;
                c->body = CHUNK_END;
            }
        } else if (c->body == CHUNK_END) {
            if (*p++ == '\n') {
                c->body = CHUNK_SIZE;
                c->left = 0;
            }
        } else if (c->body == CHUNK_SIZE) {
            int digit = *p++;
            if (digit == '\n') {
                c->body = c->left ? CHUNK_DATA : TRAILER;
                c->line_len = 0;
            } else if (digit != '\r') {
                int value = digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10;
                c->left = c->left * 16 + (uint64_t)value;
            }
        } else if (c->body == TRAILER) {
            if (*p == '\n' && c->line_len == 0) return 1;
            if (*p == '\n') c->line_len = 0;
            else if (*p != '\r') c->line_len++;
            p++;
        } else {
            look_for_chunks(c, p, n, t);
            p = end;
        }
    }
    return 0;
}

static void readable(struct connection *c) {
    do {
        ssize_t n = c->ssl ? SSL_read(c->ssl, buffer, sizeof buffer)
                           : recv(c->fd, buffer, sizeof buffer, 0);
        if ((n = result(c, n)) < 0) {
            if (c->state == BUSY && c->body == TO_END) {
                c->last = 1;
                answered(c, now());
            } else if (c->state == BUSY) {
                failed(c);
            } else {
                close_connection(c, REOPEN_AFTER); /* it need not keep a connection for ever */
            }
            return;
        }
        if (n == 0) return;
        if (c->state != BUSY) {
            failed(c);
            return;
        }
        if (measuring) received += (uint64_t)n;
        uint64_t t = now();
        if (take(c, buffer, (size_t)n, t)) {
            answered(c, t);
            return;
        }
    } while (c->ssl && SSL_pending(c->ssl));
}

/* ---- Telling what came of it ---- */

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const char *name, struct samples *s) {
    static const double shares[] = {0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 100};
    printf(", \"%s\": {\"count\": %zu", name, s->len);
    if (s->len) {
        qsort(s->values, s->len, sizeof *s->values, compare);
        double sum = 0;
        for (size_t i = 0; i < s->len; i++) sum += s->values[i];
        printf(", \"mean\": %.1f, \"percentiles\": {", sum / (double)s->len);
        for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
            double at = shares[i] / 100 * (double)s->len;
            size_t rank = (size_t)at;
            if (rank && (double)rank == at) rank--;
            if (rank >= s->len) rank = s->len - 1;
            printf("%s\"%g\": %" PRIu32, i ? ", " : "", shares[i], s->values[rank]);
        }
        printf("}");
    }
    printf("}");
}

static double cpu_seconds(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void print_results(double measured, double cpu, uint64_t unanswered) {
    printf("{\"seconds\": %.6f, \"cpu_seconds\": %.6f, \"protocol\": \"%s\", \"answers\": %" PRIu64
           ", \"chunks\": %" PRIu64 ", \"streams\": %" PRIu64 ", \"open_streams\": %d"
           ", \"refused\": %" PRIu64 ", \"broken\": %" PRIu64 ", \"unanswered\": %" PRIu64
           ", \"handshakes\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"statuses\": {",
           measured, cpu, protocol, answers, chunks, whole_streams, open_most, refused, broken,
           unanswered, handshakes, received);
    const char *comma = "";
    for (int i = 0; i < 600; i++)
        if (statuses[i]) printf("%s\"%d\": %d", comma, i, statuses[i]), comma = ", ";
    printf("}");
    print_samples("latency", &latency);
    print_samples("first_chunk", &first_chunk);
    print_samples("delay", &delay);
    print_samples("gap", &gap);
    printf("}\n");
    fflush(stdout);
}

/* ---- Settings ---- */

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t len;
    if (!file) fail("the file of requests cannot be read");
    while (fscanf(file, "%zu", &len) == 1 && fgetc(file) == '\n') {
        requests = must(realloc(requests, (size_t)(requests_len + 1) * sizeof *requests));
        struct request *r = &requests[requests_len++];
        r->len = len;
        r->data = must(malloc(len));
        if (fread(r->data, 1, len, file) != len) fail("the file of requests ends too early");
    }
    fclose(file);
}

static void read_options(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},     {"requests", 1, 0, 'q'},  {"tls", 0, 0, 't'},
        {"seconds", 1, 0, 's'},  {"connections", 1, 0, 'c'}, {"warmup", 1, 0, 'w'},
        {"rate", 1, 0, 'r'},     {"fresh", 0, 0, 'f'},     {"handshakes", 0, 0, 'h'},
        {"wait-open", 0, 0, 'o'}, {"spread", 1, 0, 'd'},   {"opening", 1, 0, 'n'},
        {0, 0, 0, 0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 'p') port = atoi(optarg);
        else if (option == 'q') read_requests(optarg);
        else if (option == 't') tls = 1;
        else if (option == 's') seconds = atof(optarg);
        else if (option == 'c') connections = atoi(optarg);
        else if (option == 'w') warmup = atof(optarg);
        else if (option == 'r') rate = atof(optarg);
        else if (option == 'f') fresh = 1;
        else if (option == 'h') handshakes_only = 1;
        else if (option == 'o') wait_open = 1;
        else if (option == 'd') spread = atof(optarg);
        else if (option == 'n') opening_most = atoi(optarg);
        else exit(2);
    }
    if (!port || connections < 1 || (!requests_len && !handshakes_only))
        fail("--port and --requests are needed");
}

/* ---- The loop ---- */

/* Opens what is closed and may be opened, and sends the first requests whose time has come. */
static void look_after_connections(uint64_t t) {
    for (int i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        if (c->state == CLOSED && c->not_before <= t && opening < opening_most) {
            open_connection(c);
            if (spread && c->not_before == 0 && !c->streamed)
                c->not_before = t + (uint64_t)(spread * 1e6 * i / connections);
        } else if (c->state == IDLE && !rate && c->not_before <= t) {
            send_request(c, t);
        }
    }
}

static void handle(struct epoll_event *e) {
    struct connection *c = e->data.ptr;
    if (e->data.ptr == &timer) {
        uint64_t ticks;
        if (read(timer, &ticks, sizeof ticks) > 0) send_due();
    } else if (c->state == CONNECTING || c->state == HANDSHAKE) {
        go_on_opening(c);
    } else {
        if (e->events & EPOLLOUT && c->state == BUSY) write_on(c);
        if (e->events & ~(uint32_t)EPOLLOUT && (c->state == BUSY || c->state == IDLE)) readable(c);
    }
}

/* What was due in the measured time and has no answer yet has taken this long at least. */
static uint64_t count_unanswered(uint64_t began, uint64_t t) {
    uint64_t count = 0;
    for (int i = 0; i < connections; i++)
        if (all[i].state == BUSY && all[i].due >= began) {
            count++;
            add_sample(&latency, t - all[i].due);
        }
    for (size_t i = waiting_at; i < waiting_len; i++) {
        count++;
        add_sample(&latency, t - waiting[i]);
    }
    return count;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    read_options(argc, argv);
    tls_context = must(SSL_CTX_new(TLS_client_method()));
    SSL_CTX_set_min_proto_version(tls_context, TLS1_3_VERSION);
    SSL_CTX_set_session_cache_mode(tls_context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(tls_context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &timer}, events[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e);
    all = must(calloc((size_t)connections, sizeof *all));
    idle = must(calloc((size_t)connections, sizeof *idle));

    uint64_t started = now(), began = 0, measure_at = started + (uint64_t)(warmup * 1e6);
    uint64_t looked = 0;
    double cpu = 0;
    if (rate) {
        rate_began = started + 200000; /* when the connections are there */
        send_due();
    }
    for (;;) {
        int n = epoll_wait(poller, events, 256, opening < opening_most || spread ? 1 : 10);
        for (int i = 0; i < n; i++) handle(&events[i]);
        uint64_t t = now();
        if (fresh || handshakes_only || t - looked >= 1000) {
            look_after_connections(t);
            looked = t;
        }
        if (wait_open && !began && streamed < connections &&
            t - started < (uint64_t)OPEN_SECONDS * 1000000)
            measure_at = t + (uint64_t)(warmup * 1e6);
        if (!began && t >= measure_at) {
            puts("begin");
            fflush(stdout);
            began = t;
            cpu = cpu_seconds();
            open_most = open_now;
            measuring = 1;
        } else if (began && t - began >= (uint64_t)(seconds * 1e6)) {
            puts("end");
            fflush(stdout);
            cpu = cpu_seconds() - cpu;
            uint64_t unanswered = rate ? count_unanswered(began, t) : 0;
            print_results((double)(t - began) / 1e6, cpu, unanswered);
            return 0;
        }
    }
}
