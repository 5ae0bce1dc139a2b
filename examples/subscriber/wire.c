#include "wire.h"

#include <math.h>
#include <string.h>

static size_t size_of(struct bytes dtype)
{
    static const struct {
        const char *name;
        size_t size;
    } known[] = {{"|u1", 1}, {"<u4", 4}, {"<i8", 8}, {"<u8", 8}, {"<f8", 8}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (bytes_are(dtype, known[i].name))
            return known[i].size;
    return 0;
}

static const char *column(struct msgpack *reader, struct bytes frame, struct column *found)
{
    if (msgpack_array(reader) != 3)
        return "a column is not described by name, dtype and length";
    found->name = msgpack_text(reader);
    found->dtype = msgpack_text(reader);
    int64_t length = msgpack_integer(reader);
    size_t size = size_of(found->dtype);
    if (reader->broken || !size)
        return "a column of a dtype that there is not";
    if (length < 0 || length > WIRE_COLUMN || (size_t)length * size != frame.size || frame.size > WIRE_COLUMN)
        return "a column's frame has not the length that the header says";
    found->length = (size_t)length;
    found->data = frame;
    return NULL;
}

const char *wire_batch(const struct message *message, struct batch *batch)
{
    memset(batch, 0, sizeof *batch);
    if (message->count < 2 || message->frames[1].size > WIRE_HEADER)
        return "not a batch: a topic and a header of at most 256 KiB begin one";
    batch->topic = message->frames[0];
    batch->header = message->frames[1];
    batch->columns = message->count - 2;

    struct msgpack reader = msgpack_of(batch->header);
    int64_t version = -1;
    bool described = false;
    const char *why = NULL;
    for (size_t keys = msgpack_map(&reader); keys && !reader.broken; keys--) {
        struct bytes key = msgpack_text(&reader);

        if (bytes_are(key, "v")) {
            version = msgpack_integer(&reader);
        } else if (bytes_are(key, "columns") && !described) {
            if (msgpack_array(&reader) != batch->columns)
                return "the header does not describe the message's columns";
            for (size_t i = 0; i < batch->columns; i++)
                if ((why = column(&reader, message->frames[2 + i], &batch->column[i])))
                    return why;
            described = true;
        } else {
            msgpack_skip(&reader);
        }
    }
    if (reader.broken || reader.at != reader.end)
        return "a header that is no msgpack map";
    if (version != WIRE_VERSION)
        return "the daemon speaks another version of the wire than this program, which speaks 1";
    return described ? NULL : "a header without columns";
}

const struct column *wire_column(const struct batch *batch, const char *name, const char *dtype, size_t length)
{
    for (size_t i = 0; i < batch->columns; i++) {
        const struct column *found = &batch->column[i];

        if (bytes_are(found->name, name))
            return bytes_are(found->dtype, dtype) && found->length == length ? found : NULL;
    }
    return NULL;
}

/* A reader that stands before the value of a key of a map; false where there is no such key. */
static bool value_of(struct bytes map, const char *key, struct msgpack *reader)
{
    *reader = msgpack_of(map);
    for (size_t keys = msgpack_map(reader); keys && !reader->broken; keys--) {
        if (bytes_are(msgpack_text(reader), key))
            return !reader->broken;
        msgpack_skip(reader);
    }
    return false;
}

int64_t wire_count(struct bytes header, const char *key)
{
    struct msgpack reader;
    int64_t value = value_of(header, key, &reader) ? msgpack_integer(&reader) : -1;

    return reader.broken ? -1 : value;
}

static bool stream_of(struct msgpack *reader, uint8_t stream[WIRE_STREAM])
{
    struct bytes found = msgpack_binary(reader);

    if (reader->broken || found.size != WIRE_STREAM)
        return false;
    memcpy(stream, found.at, WIRE_STREAM);
    return true;
}

bool wire_stream(struct bytes header, uint8_t stream[WIRE_STREAM])
{
    struct msgpack reader;

    return value_of(header, "stream", &reader) && stream_of(&reader, stream);
}

/* Which rail of the epoch has this name; a new one where none has. */
static size_t rail_of(struct epoch *epoch, struct bytes name)
{
    size_t at = 0;

    while (at < epoch->rails && !bytes_are(name, epoch->rail[at].name))
        at++;
    if (at == epoch->rails) {
        memcpy(epoch->rail[at].name, name.at, name.size);
        epoch->rails++;
    }
    return at;
}

static const char *channel(struct msgpack *reader, struct epoch *epoch)
{
    static const char *const quantities[] = {"bus_uv", "shunt_uv", "current_ua", "power_uw"};
    struct channel *made = &epoch->channel[epoch->channels];
    struct bytes rail = {0}, quantity = {0};

    for (size_t keys = msgpack_map(reader); keys && !reader->broken; keys--) {
        struct bytes key = msgpack_text(reader);

        if (bytes_are(key, "rail"))
            rail = msgpack_text(reader);
        else if (bytes_are(key, "quantity"))
            quantity = msgpack_text(reader);
        else if (bytes_are(key, "offset"))
            made->offset = msgpack_integer(reader);
        else if (bytes_are(key, "shunt_uohm"))
            made->shunt_uohm = msgpack_integer(reader);
        else
            msgpack_skip(reader);
    }
    if (reader->broken || !rail.size || rail.size > WIRE_NAME || memchr(rail.at, 0, rail.size))
        return "an epoch has a channel without a rail";
    made->rail = rail_of(epoch, rail);
    made->quantity = BUS_UV;
    while (made->quantity < OTHER && !bytes_are(quantity, quantities[made->quantity]))
        made->quantity++;
    epoch->channels++;
    return NULL;
}

static const char *channels(struct msgpack *reader, struct epoch *epoch)
{
    size_t count = msgpack_array(reader);
    const char *why = count > WIRE_READINGS || epoch->channels ? "an epoch of too many channels" : NULL;

    for (; count && !why && !reader->broken; count--)
        why = channel(reader, epoch);
    return why;
}

/* The rails of the total. They stand behind the channels or before them, so they are looked up when the whole map is read. */
static void totals(struct msgpack reader, struct epoch *epoch)
{
    for (size_t names = msgpack_array(&reader); names && !reader.broken; names--) {
        struct bytes name = msgpack_text(&reader);

        for (size_t at = 0; at < epoch->rails; at++)
            epoch->rail[at].in_total |= bytes_are(name, epoch->rail[at].name);
    }
}

const char *wire_epoch(struct msgpack *reader, struct epoch *epoch)
{
    struct msgpack total = {.broken = true};
    const char *why = NULL;

    memset(epoch, 0, sizeof *epoch);
    epoch->number = -1;
    for (size_t keys = msgpack_map(reader); keys && !why && !reader->broken; keys--) {
        struct bytes key = msgpack_text(reader);

        if (bytes_are(key, "number")) {
            epoch->number = msgpack_integer(reader);
        } else if (bytes_are(key, "simulated")) {
            epoch->simulated = msgpack_true(reader);
        } else if (bytes_are(key, "stream")) {
            reader->broken |= !stream_of(reader, epoch->stream);
        } else if (bytes_are(key, "covers")) {
            struct bytes covers = msgpack_text(reader);

            epoch->module = bytes_are(covers, "module");
            epoch->board = bytes_are(covers, "board");
        } else if (bytes_are(key, "channels")) {
            why = channels(reader, epoch);
        } else {
            if (bytes_are(key, "totals"))
                total = *reader;
            msgpack_skip(reader);
        }
    }
    if (!why && (reader->broken || epoch->number < 0))
        why = "an epoch that is none";
    if (!why)
        totals(total, epoch);
    return why;
}

static uint64_t little_endian(const uint8_t *at, size_t size)
{
    uint64_t value = 0;

    while (size--)
        value = value << 8 | at[size];
    return value;
}

uint32_t wire_u32(const struct column *column, size_t at)
{
    return (uint32_t)little_endian(column->data.at + 4 * at, 4);
}

int64_t wire_i64(const struct column *column, size_t at)
{
    return (int64_t)little_endian(column->data.at + 8 * at, 8);
}

void wire_watts(const struct epoch *epoch, const struct column *value, const struct column *state, size_t first,
                double watts[WIRE_READINGS])
{
    double known[WIRE_READINGS][OTHER + 1];
    bool has[WIRE_READINGS][OTHER + 1] = {{false}};

    for (size_t i = 0; i < epoch->channels; i++) {
        const struct channel *channel = &epoch->channel[i];
        double si = ((double)wire_i64(value, first + i) + (double)channel->offset) * 1e-6;

        if (channel->quantity == SHUNT_UV)
            si = channel->shunt_uohm > 0 ? si / ((double)channel->shunt_uohm * 1e-6) : NAN;
        known[channel->rail][channel->quantity] = state->data.at[first + i] == 3 ? NAN : si;
        has[channel->rail][channel->quantity] = true;
    }
    for (size_t rail = 0; rail < epoch->rails; rail++) {
        enum quantity current = has[rail][SHUNT_UV] ? SHUNT_UV : CURRENT_UA;

        if (has[rail][POWER_UW])
            watts[rail] = known[rail][POWER_UW];
        else if (has[rail][current] && has[rail][BUS_UV])
            watts[rail] = known[rail][current] * known[rail][BUS_UV];
        else
            watts[rail] = NAN;
    }
}
