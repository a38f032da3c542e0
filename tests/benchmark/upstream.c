/* A SageMaker runtime that costs next to nothing: it answers on loopback, over HTTP/1.1, from one
 * thread, and checks no signature.
 *
 *     upstream PORT
 *
 * What an endpoint answers is in its name, wherever it stands in a path (…/endpoints/NAME/…):
 *     answer-BYTES        a chat completion of that many bytes
 *     stream-MS-CHUNKS    an event stream of that many chunks, so many milliseconds apart (0: as
 *                         fast as they are taken), each event one HTTP chunk and one send()
 * A chunk's text holds "~t" and, in 16 digits, the microsecond on CLOCK_MONOTONIC when it was due:
 * whoever reads it on this machine knows how long it was under way, however it is framed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 32768
#define FRAME_BYTES 1024
#define READ_BYTES 262144
#define FILLER_BYTES 65536
#define FAST_BURST 8 /* chunks of one fast stream before it is the others' turn */

enum state { READ_HEAD, READ_BODY, WRITE };

struct connection {
    int fd;
    enum state state;
    int closing; /* after this answer */
    int waits_for_room;
    /* The head stays, for its first line, until the next request is read. */
    char *head;
    size_t head_len;
    uint64_t body_left;
    /* What is being written: `out`, then `filler_left` bytes of an answer's text. */
    char *out;
    size_t out_len, out_at, out_room;
    uint64_t filler_left;
    /* A stream, in microseconds. */
    int chunks_left, chunks_total;
    uint64_t interval, due;
    int heap_at; /* -1: not in the heap */
};

static int poller, listener, timer;
static uint64_t timer_set; /* 0: not */
static uint32_t crc_table[8][256];
static unsigned char event_headers[128];
static size_t event_headers_len;
static char scratch[READ_BYTES], filler[FILLER_BYTES];

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *must(void *memory) {
    if (!memory) {
        perror("upstream");
        exit(1);
    }
    return memory;
}

/* ---- CRC-32, eight bytes at a time ---- */

static void crc_init(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
        crc_table[0][i] = c;
    }
    for (int t = 1; t < 8; t++)
        for (int i = 0; i < 256; i++)
            crc_table[t][i] = (crc_table[t - 1][i] >> 8) ^ crc_table[0][crc_table[t - 1][i] & 255];
}

static uint32_t crc(const unsigned char *p, size_t len) {
    uint32_t c = ~0u;
    for (; len >= 8; len -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= c;
        c = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^
            crc_table[5][low >> 16 & 255] ^ crc_table[4][low >> 24] ^ crc_table[3][high & 255] ^
            crc_table[2][high >> 8 & 255] ^ crc_table[1][high >> 16 & 255] ^
            crc_table[0][high >> 24];
    }
    for (; len; len--, p++) c = crc_table[0][(c ^ *p) & 255] ^ (c >> 8);
    return ~c;
}

/* ---- AWS's event stream: lengths and CRCs, big-endian, around headers and a payload ---- */

static void put32(unsigned char *p, uint32_t v) {
    p[0] = (unsigned char)(v >> 24), p[1] = (unsigned char)(v >> 16);
    p[2] = (unsigned char)(v >> 8), p[3] = (unsigned char)v;
}

static unsigned char *put_header(unsigned char *p, const char *name, const char *value) {
    size_t name_len = strlen(name), value_len = strlen(value);
    *p++ = (unsigned char)name_len;
    memcpy(p, name, name_len), p += name_len;
    *p++ = 7; /* a string */
    *p++ = (unsigned char)(value_len >> 8), *p++ = (unsigned char)value_len;
    memcpy(p, value, value_len);
    return p + value_len;
}

/* One HTTP chunk that holds one event with this payload; returns its length. */
static size_t frame(char *out, const char *payload, size_t payload_len) {
    uint32_t total = (uint32_t)(16 + event_headers_len + payload_len);
    int size = sprintf(out, "%x\r\n", total);
    unsigned char *event = (unsigned char *)out + size;
    put32(event, total);
    put32(event + 4, (uint32_t)event_headers_len);
    put32(event + 8, crc(event, 8));
    memcpy(event + 12, event_headers, event_headers_len);
    memcpy(event + 12 + event_headers_len, payload, payload_len);
    put32(event + total - 4, crc(event, total - 4));
    memcpy(event + total, "\r\n", 2);
    return (size_t)size + total + 2;
}

#define CHUNK_START                                                                              \
    "data: {\"id\":\"chatcmpl-benchmark\",\"object\":\"chat.completion.chunk\","                 \
    "\"created\":1750000000,\"model\":\"benchmark\",\"choices\":[{\"index\":0,\"delta\":{"

static size_t chunk_frame(char *out, uint64_t stamp, int first) {
    char payload[FRAME_BYTES / 2];
    int len = snprintf(
        payload, sizeof payload,
        CHUNK_START "%s\"content\":\" ~t%016" PRIu64 "\"},\"finish_reason\":null}]}\n\n",
        first ? "\"role\":\"assistant\"," : "", stamp);
    return frame(out, payload, (size_t)len);
}

static size_t last_frame(char *out, int chunks) {
    char payload[FRAME_BYTES / 2];
    int len = snprintf(payload, sizeof payload,
                       CHUNK_START "},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"
                                   "\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n"
                                   "data: [DONE]\n\n",
                       chunks, chunks + 9);
    size_t size = frame(out, payload, (size_t)len);
    memcpy(out + size, "0\r\n\r\n", 5);
    return size + 5;
}

/* ---- Which stream has a chunk due, and when: a binary heap ---- */

static struct connection **heap;
static int heap_len, heap_room;

static void heap_put(int at, struct connection *c) { heap[at] = c, c->heap_at = at; }

static void heap_up(int at, struct connection *c) {
    for (; at && heap[(at - 1) / 2]->due > c->due; at = (at - 1) / 2)
        heap_put(at, heap[(at - 1) / 2]);
    heap_put(at, c);
}

static void heap_down(int at, struct connection *c) {
    for (;;) {
        int child = 2 * at + 1;
        if (child >= heap_len) break;
        if (child + 1 < heap_len && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap_put(at, heap[child]);
        at = child;
    }
    heap_put(at, c);
}

static void heap_add(struct connection *c) {
    if (heap_len == heap_room) {
        heap_room = heap_room ? heap_room * 2 : 1024;
        heap = must(realloc(heap, (size_t)heap_room * sizeof *heap));
    }
    heap_len++;
    heap_up(heap_len - 1, c);
}

static void heap_remove(struct connection *c) {
    int at = c->heap_at;
    if (at < 0) return;
    c->heap_at = -1;
    struct connection *last = heap[--heap_len];
    if (last == c) return;
    heap_down(at, last);
    heap_up(last->heap_at, last);
}

static void set_timer(void) {
    uint64_t due = heap_len ? heap[0]->due : 0;
    if (due == timer_set) return;
    timer_set = due;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(due / 1000000), .tv_nsec = (long)(due % 1000000) * 1000}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- Writing ---- */

static struct connection **dead; /* events of this turn may still point to them */
static int dead_len, dead_room;

static void drop(struct connection *c) {
    if (c->fd < 0) return;
    heap_remove(c);
    close(c->fd);
    c->fd = -1;
    if (dead_len == dead_room) {
        dead_room = dead_room ? dead_room * 2 : 64;
        dead = must(realloc(dead, (size_t)dead_room * sizeof *dead));
    }
    dead[dead_len++] = c;
}

static void bury(void) {
    while (dead_len) {
        struct connection *c = dead[--dead_len];
        free(c->head), free(c->out), free(c);
    }
}

static void watch(struct connection *c, int for_room) {
    if (c->waits_for_room == for_room) return;
    c->waits_for_room = for_room;
    struct epoll_event e = {.events = for_room ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &e);
}

static void add_out(struct connection *c, const char *data, size_t len) {
    if (c->out_at == c->out_len) c->out_at = c->out_len = 0;
    if (c->out_len + len > c->out_room) {
        c->out_room = (c->out_len + len) * 2;
        c->out = must(realloc(c->out, c->out_room));
    }
    memcpy(c->out + c->out_len, data, len);
    c->out_len += len;
}

static const char BODY_START[] =
    "{\"id\":\"chatcmpl-benchmark\",\"object\":\"chat.completion\",\"created\":1750000000,"
    "\"model\":\"benchmark\",\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":90,"
    "\"total_tokens\":99},\"choices\":[{\"index\":0,\"finish_reason\":\"stop\",\"message\":"
    "{\"role\":\"assistant\",\"content\":\"";
static const char BODY_END[] = "\"}}]}";

/* Sends what there is; 1 when all is gone. */
static int flush(struct connection *c) {
    while (c->out_at < c->out_len || c->filler_left) {
        int own = c->out_at < c->out_len;
        const char *from = own ? c->out + c->out_at : filler;
        size_t len = own ? c->out_len - c->out_at : (size_t)c->filler_left;
        if (!own && len > FILLER_BYTES) len = FILLER_BYTES;
        ssize_t n = send(c->fd, from, len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN) watch(c, 1);
            else drop(c);
            return 0;
        }
        if (own) c->out_at += (size_t)n;
        else if ((c->filler_left -= (uint64_t)n) == 0) add_out(c, BODY_END, sizeof BODY_END - 1);
    }
    c->out_at = c->out_len = 0;
    watch(c, 0);
    return 1;
}

/* ---- Answers ---- */

static void finished(struct connection *c) {
    if (c->closing) drop(c);
    else c->state = READ_HEAD;
}

/* Writes the chunks of a stream that are due; a fast one's always are. */
static void advance(struct connection *c) {
    char out[FRAME_BYTES * 2];
    uint64_t t = now();
    int burst = FAST_BURST;
    heap_remove(c);
    while (c->chunks_left) {
        if (c->interval ? c->due > t : burst-- == 0) break;
        int first = c->chunks_left == c->chunks_total;
        size_t len = chunk_frame(out, c->interval ? c->due : now(), first);
        if (--c->chunks_left == 0) len += last_frame(out + len, c->chunks_total);
        c->due += c->interval;
        add_out(c, out, len);
        if (c->waits_for_room) continue;
        if (!flush(c) && (c->fd < 0 || !c->interval)) return; /* goes on when there is room */
    }
    if (c->chunks_left) {
        if (!c->interval) c->due = t; /* behind the others that are due */
        heap_add(c);
    } else if (c->out_at == c->out_len) {
        finished(c);
    }
}

static void refuse(struct connection *c, const char *status) {
    char out[256];
    int len = snprintf(out, sizeof out, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
    add_out(c, out, (size_t)len);
}

static void answer_whole(struct connection *c, uint64_t bytes) {
    char out[512];
    int len = snprintf(out, sizeof out,
                       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                       "x-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
                       "Content-Length: %" PRIu64 "\r\n\r\n",
                       bytes);
    add_out(c, out, (size_t)len);
    add_out(c, BODY_START, sizeof BODY_START - 1);
    uint64_t text = bytes - (sizeof BODY_START - 1) - (sizeof BODY_END - 1);
    if (text > FILLER_BYTES) {
        c->filler_left = text;
    } else {
        add_out(c, filler, (size_t)text);
        add_out(c, BODY_END, sizeof BODY_END - 1);
    }
}

static void answer(struct connection *c) {
    static const char stream_head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\n"
        "x-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
        "X-Amzn-SageMaker-Content-Type: text/event-stream\r\n"
        "Transfer-Encoding: chunked\r\n\r\n";
    c->state = WRITE;
    char *line_end = strchr(c->head, '\r');
    *line_end = 0;
    char *name = strstr(c->head, "/endpoints/");
    uint64_t bytes;
    int ms, chunks;
    if (name && sscanf(name, "/endpoints/answer-%" SCNu64, &bytes) == 1 &&
        bytes >= sizeof BODY_START + sizeof BODY_END) {
        answer_whole(c, bytes);
    } else if (name && sscanf(name, "/endpoints/stream-%d-%d", &ms, &chunks) == 2 && ms >= 0 &&
               chunks > 0) {
        add_out(c, stream_head, sizeof stream_head - 1);
        c->chunks_left = c->chunks_total = chunks;
        c->interval = (uint64_t)ms * 1000;
        c->due = now() + c->interval;
    } else {
        refuse(c, "404 Not Found");
    }
    int gone = flush(c);
    if (c->fd < 0) return;
    if (c->chunks_left) heap_add(c);
    else if (gone) finished(c);
}

/* ---- Reading ---- */

static void read_head(struct connection *c) {
    static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    c->head[c->head_len] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end) {
        if (c->head_len == HEAD_BYTES - 1) drop(c);
        return;
    }
    uint64_t length = 0;
    for (char *line = strstr(c->head, "\r\n"); line < end; line = strstr(line + 2, "\r\n")) {
        const char *field = line + 2;
        if (!strncasecmp(field, "content-length:", 15)) length = strtoull(field + 15, NULL, 10);
        else if (!strncasecmp(field, "connection: close", 17)) c->closing = 1;
        else if (!strncasecmp(field, "expect: 100", 11)) add_out(c, go_on, sizeof go_on - 1);
        else if (!strncasecmp(field, "transfer-encoding:", 18)) {
            refuse(c, "411 Length Required");
            c->closing = 1;
        }
    }
    uint64_t here = c->head_len - (size_t)(end + 4 - c->head);
    if (here > length) { /* no gateway sends a request before the answer to the one before */
        drop(c);
        return;
    }
    if (c->out_len && !flush(c)) return;
    c->head_len = 0;
    c->body_left = length - here;
    c->state = READ_BODY;
    if (!c->body_left) answer(c);
}

static void readable(struct connection *c) {
    while (c->fd >= 0) {
        enum state before = c->state;
        char *to = before == READ_HEAD ? c->head + c->head_len : scratch;
        size_t room = before == READ_HEAD ? HEAD_BYTES - 1 - c->head_len : READ_BYTES;
        if (before == READ_BODY && room > c->body_left) room = (size_t)c->body_left;
        ssize_t n = recv(c->fd, to, room, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0 || before == WRITE) { /* it has gone, or asks before its answer has ended */
            drop(c);
            return;
        }
        if (before == READ_HEAD) {
            c->head_len += (size_t)n;
            read_head(c);
        } else if ((c->body_left -= (uint64_t)n) == 0) {
            answer(c);
        }
        if (c->state != READ_BODY) return; /* what is not read yet makes another event */
    }
}

static void writable(struct connection *c) {
    if (!flush(c)) return;
    if (c->state == WRITE && c->chunks_left && c->heap_at < 0) advance(c);
    else if (c->state == WRITE && !c->chunks_left) finished(c);
}

static void accept_all(void) {
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct connection *c = must(calloc(1, sizeof *c));
        c->fd = fd;
        c->heap_at = -1;
        c->head = must(malloc(HEAD_BYTES));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
    }
}

/* ---- The loop ---- */

static void start(int port) {
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) {
        perror("upstream");
        exit(1);
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = &listener};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    e.data.ptr = &timer;
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: upstream PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    crc_init();
    memset(filler, 'x', sizeof filler);
    unsigned char *p = put_header(event_headers, ":event-type", "PayloadPart");
    p = put_header(p, ":content-type", "application/octet-stream");
    p = put_header(p, ":message-type", "event");
    event_headers_len = (size_t)(p - event_headers);
    start(atoi(argv[1]));
    puts("ready");
    fflush(stdout);

    struct epoll_event events[256];
    for (;;) {
        set_timer();
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            uint64_t ticks;
            if (events[i].data.ptr == &listener) {
                accept_all();
            } else if (events[i].data.ptr == &timer) {
                if (read(timer, &ticks, sizeof ticks) > 0) timer_set = 0;
            } else {
                if (c->fd >= 0 && events[i].events & EPOLLOUT) writable(c);
                if (c->fd >= 0 && events[i].events & ~(uint32_t)EPOLLOUT) readable(c);
            }
        }
        uint64_t t = now();
        for (int left = heap_len; left && heap_len && heap[0]->due <= t; left--) advance(heap[0]);
        bury();
    }
}
