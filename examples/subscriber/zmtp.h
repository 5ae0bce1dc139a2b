/*
 * A client's end of a ZeroMQ socket, in ZMTP 3.1 (ZeroMQ's RFC 37) over a Unix socket, without security (NULL). Blocking.
 *
 * Each function that can fail returns NULL, or in words why it failed; the connection is then good for nothing but zmtp_close.
 */
#pragma once

#include "msgpack.h"

enum {
    ZMTP_FRAMES = 34,        /* of a message: topic, header, 32 columns */
    ZMTP_MESSAGE = 32 << 20, /* bytes of a message: twice the largest column */
    ZMTP_SILENCE_S = 10,     /* a daemon says something each second */
};

struct zmtp {
    int descriptor;
    uint8_t *message; /* the bodies of the message's frames, one after another */
    size_t capacity;
    uint8_t input[1 << 16];
    size_t input_at, input_size;
};

struct message {
    struct bytes frames[ZMTP_FRAMES]; /* valid until the next call on this connection */
    size_t count;
};

/* Connect to the socket file FOLDER/NAME, and greet. `type` is the client's kind: "SUB" or "DEALER". */
const char *zmtp_open(struct zmtp *zmtp, const char *folder, const char *name, const char *type);

/* Of a SUB: ask for the messages of a topic. */
const char *zmtp_subscribe(struct zmtp *zmtp, const char *topic);

/* Of a DEALER: send a message of one frame, at most 255 bytes. */
const char *zmtp_send(struct zmtp *zmtp, struct bytes body);

/* The next message, all frames of it. Pings are answered on the way. */
const char *zmtp_receive(struct zmtp *zmtp, struct message *message);

void zmtp_close(struct zmtp *zmtp);
