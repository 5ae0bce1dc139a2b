/*
 * Reading msgpack, as much of it as the headers on the wire have: no extension types, nothing allocated.
 *
 * A reader walks over bytes that stay the caller's. The first thing that is not what was asked for, or reaches past the end, breaks it:
 * from then on every call gives 0 or nothing, so who reads checks `broken` once at the end, and in loops.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct msgpack {
    const uint8_t *at, *end;
    bool broken;
};

struct bytes {
    const uint8_t *at;
    size_t size;
};

struct msgpack msgpack_of(struct bytes data);

/* Entries that follow: pairs of a map, values of an array. A reader is broken where they cannot lie in the bytes that are left. */
size_t msgpack_map(struct msgpack *reader);
size_t msgpack_array(struct msgpack *reader);

/* A value. `msgpack_integer` is broken by what does not fit in 64 bits with a sign. */
struct bytes msgpack_text(struct msgpack *reader);
struct bytes msgpack_binary(struct msgpack *reader);
int64_t msgpack_integer(struct msgpack *reader);
bool msgpack_true(struct msgpack *reader);

/* Pass over one value with all that is in it, however deep. */
void msgpack_skip(struct msgpack *reader);

bool bytes_are(struct bytes data, const char *text);
