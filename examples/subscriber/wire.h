/*
 * What docs/wire.md says of batches, epochs and readings, as far as watts and inferences need it.
 *
 * Functions that can fail return NULL, or in words why they failed; nothing they were given is changed then, but for what they make.
 */
#pragma once

#include "zmtp.h"

enum {
    WIRE_VERSION = 1,
    WIRE_HEADER = 256 << 10,  /* bytes of a header */
    WIRE_COLUMN = 16 << 20,   /* bytes of a column */
    WIRE_COLUMNS = 32,
    WIRE_READINGS = 64,
    WIRE_NAME = 1024,         /* bytes of a rail's name: 256 characters */
    WIRE_STREAM = 16,
};

/* A message, checked: every column lies whole in its frame. */
struct batch {
    struct bytes topic, header;
    size_t columns;
    struct column {
        struct bytes name, dtype, data;
        size_t length;
    } column[WIRE_COLUMNS];
};

enum quantity { BUS_UV, SHUNT_UV, CURRENT_UA, POWER_UW, OTHER };

struct epoch {
    uint8_t stream[WIRE_STREAM];
    int64_t number;
    bool simulated, module, board;
    size_t channels, rails;
    struct channel {
        size_t rail; /* which of `rail` */
        enum quantity quantity;
        int64_t offset, shunt_uohm;
    } channel[WIRE_READINGS];
    struct rail {
        char name[WIRE_NAME + 1];
        bool in_total;
    } rail[WIRE_READINGS];
};

const char *wire_batch(const struct message *message, struct batch *batch);

/* The column of a batch, which must have this dtype and length; NULL where it has not. */
const struct column *wire_column(const struct batch *batch, const char *name, const char *dtype, size_t length);

/* The integer of a header under this key, -1 where there is none; and its stream, false where it has none. */
int64_t wire_count(struct bytes header, const char *key);
bool wire_stream(struct bytes header, uint8_t stream[WIRE_STREAM]);

/* An epoch, from a journal's body of kind 7 or from the list that answers `epochs`. `reader` stands before the map and ends behind it. */
const char *wire_epoch(struct msgpack *reader, struct epoch *epoch);

uint32_t wire_u32(const struct column *column, size_t at);
int64_t wire_i64(const struct column *column, size_t at);

/* Watts of each rail of the epoch in one tick, whose first reading is number `first` of the columns; NAN where a reading is missing. */
void wire_watts(const struct epoch *epoch, const struct column *value, const struct column *state, size_t first,
                double watts[WIRE_READINGS]);
