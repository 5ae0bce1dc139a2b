#include "msgpack.h"

#include <string.h>

enum kind { NIL, BOOLEAN, INTEGER, FLOAT, TEXT, BINARY, ARRAY, MAP, NONE };

/* What one value begins with: for texts and the like the size of what follows, for a number the number itself. */
struct head {
    enum kind kind;
    uint64_t value;
    bool negative_too_large;
};

struct msgpack msgpack_of(struct bytes data)
{
    return (struct msgpack){.at = data.at, .end = data.at + data.size};
}

static size_t left(const struct msgpack *reader)
{
    return (size_t)(reader->end - reader->at);
}

static struct head broken(struct msgpack *reader)
{
    reader->broken = true;
    return (struct head){.kind = NONE};
}

/* A big-endian number of 1, 2, 4 or 8 bytes. */
static uint64_t number(struct msgpack *reader, size_t size)
{
    uint64_t value = 0;

    if (reader->broken || left(reader) < size) {
        reader->broken = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++)
        value = value << 8 | *reader->at++;
    return value;
}

static struct head sized(struct msgpack *reader, enum kind kind, size_t size)
{
    uint64_t value = number(reader, size);

    return reader->broken ? broken(reader) : (struct head){.kind = kind, .value = value};
}

static struct head with_sign(struct msgpack *reader, size_t size)
{
    uint64_t value = number(reader, size), sign = 1ULL << (8 * size - 1);

    /* (v ^ sign) - sign carries the sign bit into the upper bits. */
    return reader->broken ? broken(reader) : (struct head){.kind = INTEGER, .value = (value ^ sign) - sign};
}

static struct head head(struct msgpack *reader)
{
    uint64_t first = number(reader, 1);

    if (reader->broken)
        return broken(reader);
    if (first <= 0x7f)
        return (struct head){.kind = INTEGER, .value = first};
    if (first <= 0x8f)
        return (struct head){.kind = MAP, .value = first & 0x0f};
    if (first <= 0x9f)
        return (struct head){.kind = ARRAY, .value = first & 0x0f};
    if (first <= 0xbf)
        return (struct head){.kind = TEXT, .value = first & 0x1f};
    if (first >= 0xe0)
        return (struct head){.kind = INTEGER, .value = first - 0x100};
    switch (first) {
    case 0xc0: return (struct head){.kind = NIL};
    case 0xc2: return (struct head){.kind = BOOLEAN, .value = 0};
    case 0xc3: return (struct head){.kind = BOOLEAN, .value = 1};
    case 0xc4: return sized(reader, BINARY, 1);
    case 0xc5: return sized(reader, BINARY, 2);
    case 0xc6: return sized(reader, BINARY, 4);
    case 0xca: return sized(reader, FLOAT, 4);
    case 0xcb: return sized(reader, FLOAT, 8);
    case 0xcc: return sized(reader, INTEGER, 1);
    case 0xcd: return sized(reader, INTEGER, 2);
    case 0xce: return sized(reader, INTEGER, 4);
    case 0xcf: {
        struct head found = sized(reader, INTEGER, 8);
        found.negative_too_large = found.value > INT64_MAX;
        return found;
    }
    case 0xd0: return with_sign(reader, 1);
    case 0xd1: return with_sign(reader, 2);
    case 0xd2: return with_sign(reader, 4);
    case 0xd3: return with_sign(reader, 8);
    case 0xd9: return sized(reader, TEXT, 1);
    case 0xda: return sized(reader, TEXT, 2);
    case 0xdb: return sized(reader, TEXT, 4);
    case 0xdc: return sized(reader, ARRAY, 2);
    case 0xdd: return sized(reader, ARRAY, 4);
    case 0xde: return sized(reader, MAP, 2);
    case 0xdf: return sized(reader, MAP, 4);
    default: return broken(reader); /* extension types, and 0xc1, which is nothing */
    }
}

static struct head expect(struct msgpack *reader, enum kind kind)
{
    struct head found = head(reader);

    return found.kind == kind ? found : broken(reader);
}

/* Each entry takes at least one byte, so a count of more than there are bytes is a lie, and no loop runs for long on it. */
static size_t entries(struct msgpack *reader, struct head found, size_t bytes_each)
{
    if (reader->broken || found.value > left(reader) / bytes_each) {
        reader->broken = true;
        return 0;
    }
    return (size_t)found.value;
}

size_t msgpack_map(struct msgpack *reader)
{
    return entries(reader, expect(reader, MAP), 2);
}

size_t msgpack_array(struct msgpack *reader)
{
    return entries(reader, expect(reader, ARRAY), 1);
}

static struct bytes take(struct msgpack *reader, struct head found)
{
    struct bytes data = {.at = reader->at, .size = entries(reader, found, 1)};

    reader->at += data.size;
    return data;
}

struct bytes msgpack_text(struct msgpack *reader)
{
    return take(reader, expect(reader, TEXT));
}

struct bytes msgpack_binary(struct msgpack *reader)
{
    return take(reader, expect(reader, BINARY));
}

int64_t msgpack_integer(struct msgpack *reader)
{
    struct head found = expect(reader, INTEGER);

    reader->broken |= found.negative_too_large;
    return reader->broken ? 0 : (int64_t)found.value;
}

bool msgpack_true(struct msgpack *reader)
{
    return expect(reader, BOOLEAN).value == 1;
}

void msgpack_skip(struct msgpack *reader)
{
    /* How many values are still to be passed over. It grows by no more than there are bytes, so it cannot overflow. */
    for (uint64_t pending = 1; pending && !reader->broken; pending--) {
        struct head found = head(reader);

        switch (found.kind) {
        case TEXT:
        case BINARY: take(reader, found); break;
        case ARRAY: pending += entries(reader, found, 1); break;
        case MAP: pending += 2 * entries(reader, found, 2); break;
        default: break;
        }
    }
}

bool bytes_are(struct bytes data, const char *text)
{
    return data.size == strlen(text) && memcmp(data.at, text, data.size) == 0;
}
