#define _POSIX_C_SOURCE 200809L
#include "zmtp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

enum { MORE = 1, LONG = 2, COMMAND = 4, GREETING = 64, LONGEST_COMMAND = 4096, LONGEST_SHORT = 255 };

static const char *send_all(struct zmtp *zmtp, const uint8_t *data, size_t size)
{
    while (size) {
        ssize_t sent = send(zmtp->descriptor, data, size, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return "the daemon has closed the connection";
        data += sent;
        size -= (size_t)sent;
    }
    return NULL;
}

static const char *send_frame(struct zmtp *zmtp, uint8_t flags, struct bytes body)
{
    uint8_t frame[2 + LONGEST_SHORT];

    if (body.size > LONGEST_SHORT)
        return "too long for a short frame";
    frame[0] = flags;
    frame[1] = (uint8_t)body.size;
    memcpy(frame + 2, body.at, body.size);
    return send_all(zmtp, frame, 2 + body.size);
}

/* A command: the length of its name, the name, and what it has to say. */
static const char *send_command(struct zmtp *zmtp, const char *name, struct bytes rest)
{
    uint8_t body[LONGEST_SHORT];
    size_t named = strlen(name);

    if (1 + named + rest.size > sizeof body)
        return "too long for a command";
    body[0] = (uint8_t)named;
    memcpy(body + 1, name, named);
    if (rest.size)
        memcpy(body + 1 + named, rest.at, rest.size);
    return send_frame(zmtp, COMMAND, (struct bytes){body, 1 + named + rest.size});
}

static const char *read_all(struct zmtp *zmtp, uint8_t *into, size_t size)
{
    while (size) {
        size_t taken = zmtp->input_size - zmtp->input_at;

        if (!taken) {
            ssize_t got = recv(zmtp->descriptor, zmtp->input, sizeof zmtp->input, 0);

            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
                return "the daemon has been silent for ten seconds";
            if (got <= 0)
                return "the daemon has closed the connection";
            zmtp->input_at = 0;
            zmtp->input_size = (size_t)got;
            continue;
        }
        taken = taken < size ? taken : size;
        memcpy(into, zmtp->input + zmtp->input_at, taken);
        zmtp->input_at += taken;
        into += taken;
        size -= taken;
    }
    return NULL;
}

static const char *read_head(struct zmtp *zmtp, uint8_t *flags, uint64_t *size)
{
    uint8_t length[8];
    const char *why = read_all(zmtp, flags, 1);

    if (why)
        return why;
    if (*flags & ~(MORE | LONG | COMMAND))
        return "not ZMTP: a frame with flags that there are not";
    size_t bytes = *flags & LONG ? 8 : 1;
    why = read_all(zmtp, length, bytes);
    *size = 0;
    for (size_t i = 0; !why && i < bytes; i++)
        *size = *size << 8 | length[i];
    return why;
}

/* A command's body into `body`, and where in it what follows the name begins. */
static const char *read_command(struct zmtp *zmtp, uint64_t size, uint8_t body[LONGEST_COMMAND], struct bytes *name,
                                struct bytes *rest)
{
    if (!size || size > LONGEST_COMMAND)
        return "not ZMTP: a command of this length";
    const char *why = read_all(zmtp, body, (size_t)size);
    if (why)
        return why;
    if ((size_t)body[0] + 1 > size)
        return "not ZMTP: a command whose name is longer than it";
    *name = (struct bytes){body + 1, body[0]};
    *rest = (struct bytes){body + 1 + body[0], (size_t)size - 1 - body[0]};
    return NULL;
}

static const char *shake_hands(struct zmtp *zmtp, const char *type)
{
    uint8_t greeting[GREETING] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [11] = 1}, command[LONGEST_COMMAND];
    uint8_t ready[32] = "\x0bSocket-Type\0\0\0", flags;
    size_t typed = strlen(type), named = 12;
    struct bytes name, rest;
    uint64_t size;
    const char *why;

    memcpy(greeting + 12, "NULL", 4);
    if ((why = send_all(zmtp, greeting, sizeof greeting)) || (why = read_all(zmtp, greeting, sizeof greeting)))
        return why;
    if (greeting[0] != 0xff || !(greeting[9] & 1) || greeting[10] < 3 || memcmp(greeting + 12, "NULL", 5) != 0)
        return "not a ZeroMQ socket without security";
    ready[named + 3] = (uint8_t)typed;
    memcpy(ready + named + 4, type, typed);
    if ((why = send_command(zmtp, "READY", (struct bytes){ready, named + 4 + typed})) ||
        (why = read_head(zmtp, &flags, &size)))
        return why;
    if (!(flags & COMMAND))
        return "not ZMTP: a message before the handshake";
    if ((why = read_command(zmtp, size, command, &name, &rest)))
        return why;
    return bytes_are(name, "READY") ? NULL : "the daemon refuses this client";
}

const char *zmtp_open(struct zmtp *zmtp, const char *folder, const char *name, const char *type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval silence = {.tv_sec = ZMTP_SILENCE_S};
    int written = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);

    memset(zmtp, 0, sizeof *zmtp);
    zmtp->descriptor = -1;
    if (written < 0 || (size_t)written >= sizeof address.sun_path)
        return "the path is too long for a socket";
    zmtp->descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (zmtp->descriptor < 0 || setsockopt(zmtp->descriptor, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence) ||
        connect(zmtp->descriptor, (struct sockaddr *)&address, sizeof address))
        return strerror(errno);
    return shake_hands(zmtp, type);
}

const char *zmtp_subscribe(struct zmtp *zmtp, const char *topic)
{
    return send_command(zmtp, "SUBSCRIBE", (struct bytes){(const uint8_t *)topic, strlen(topic)});
}

const char *zmtp_send(struct zmtp *zmtp, struct bytes body)
{
    return send_frame(zmtp, 0, body);
}

/* A ping has two bytes of time to live before the context that comes back. */
static const char *answer_command(struct zmtp *zmtp, uint64_t size)
{
    uint8_t body[LONGEST_COMMAND];
    struct bytes name, rest;
    const char *why = read_command(zmtp, size, body, &name, &rest);

    if (why || !bytes_are(name, "PING"))
        return why;
    if (rest.size < 2 || rest.size > 18)
        return "not ZMTP: a ping of this length";
    return send_command(zmtp, "PONG", (struct bytes){rest.at + 2, rest.size - 2});
}

/* Room for `size` more bytes. It grows as bytes come: a length alone takes no memory. */
static const char *reserve(struct zmtp *zmtp, size_t used, size_t size)
{
    if (zmtp->capacity - used >= size)
        return NULL;
    size_t wanted = 2 * (used + size);
    uint8_t *grown = realloc(zmtp->message, wanted);
    if (!grown)
        return "no memory";
    zmtp->message = grown;
    zmtp->capacity = wanted;
    return NULL;
}

static const char *read_body(struct zmtp *zmtp, size_t *used, uint64_t size)
{
    const char *why = NULL;

    if (size > ZMTP_MESSAGE - *used)
        return "a message of more than 32 MiB";
    while (size && !why) {
        size_t step = size < sizeof zmtp->input ? (size_t)size : sizeof zmtp->input;

        if (!(why = reserve(zmtp, *used, step)))
            why = read_all(zmtp, zmtp->message + *used, step);
        *used += step;
        size -= step;
    }
    return why;
}

const char *zmtp_receive(struct zmtp *zmtp, struct message *message)
{
    static const uint8_t nothing; /* an empty frame is a place too: to NULL nothing may be added, not even 0 */
    size_t ends[ZMTP_FRAMES], used = 0, count = 0;
    uint8_t flags = MORE;
    uint64_t size;
    const char *why;

    while (flags & MORE) {
        if ((why = read_head(zmtp, &flags, &size)))
            return why;
        if (flags & COMMAND) { /* between messages only, so none has begun */
            if (count || (flags & MORE))
                return "not ZMTP: a command within a message";
            if ((why = answer_command(zmtp, size)))
                return why;
            flags = MORE;
            continue;
        }
        if (count == ZMTP_FRAMES)
            return "a message of too many frames";
        if ((why = read_body(zmtp, &used, size)))
            return why;
        ends[count++] = used;
    }
    message->count = count;
    for (size_t i = 0, begin = 0; i < count; begin = ends[i++])
        message->frames[i] = (struct bytes){begin < ends[i] ? zmtp->message + begin : &nothing, ends[i] - begin};
    return NULL;
}

void zmtp_close(struct zmtp *zmtp)
{
    if (zmtp->descriptor >= 0)
        close(zmtp->descriptor);
    free(zmtp->message);
}
