/*
 * A subscriber that shares no code with the project, and no library: ticks per rail and inferences of a running neuralpowerd.
 *
 *     subscriber FOLDER [TICKS [INFERENCES]]
 *
 * FOLDER is the daemon's runtime directory. It prints a line for each second of ticks. After so many ticks and inferences, or when the
 * daemon ends, it prints a summary: what was lost on the way, how many ticks of each rail had a value, and their mean power in watts.
 * Exit status: 0 done, 1 the daemon could not be reached, ended, or said what is not of the wire, 2 wrong arguments.
 *
 * Over TCP a daemon speaks CURVE only, which needs a library; this is for the device itself.
 */
#define _POSIX_C_SOURCE 200809L
#include "wire.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EPOCHS = 64, INFERENCE = 1, EPOCH = 7 };

/* How far one log was followed. */
struct log {
    uint8_t stream[WIRE_STREAM];
    int64_t first, next; /* of this stream; next is 0 before anything came */
    int64_t taken, lost;
};

static struct {
    struct epoch epoch[EPOCHS]; /* the newest, in a ring */
    size_t epochs;
    struct log ticks, journal;
    int64_t inferences, unexplained;
    const struct epoch *shown; /* what the sums are of */
    int64_t second;            /* of the device's clock: what the last line stood for */
    struct sum {
        int64_t ticks;
        double power_w;
    } sum[WIRE_READINGS], line[WIRE_READINGS];
} seen;

/* A name as text that does nothing to a terminal. */
static const char *shown(const char *name)
{
    static char text[WIRE_NAME + 1];
    size_t at = 0;

    for (; name[at]; at++)
        text[at] = name[at] >= ' ' && name[at] <= '~' ? name[at] : '?';
    text[at] = 0;
    return text;
}

static double mean(struct sum sum)
{
    return sum.ticks ? sum.power_w / (double)sum.ticks : NAN;
}

/* Counts are as large as somebody says, and of several streams together: what does not fit stays at the largest number. */
static void add(int64_t *sum, int64_t more)
{
    *sum = more > INT64_MAX - *sum ? INT64_MAX : *sum + more;
}

/* Take note of a batch of a log: what lies between it and the one before was lost. False where it says nothing of that. */
static bool follow(struct log *log, struct bytes header, int64_t *count)
{
    uint8_t stream[WIRE_STREAM];
    int64_t first = wire_count(header, "first");

    *count = wire_count(header, "count");
    if (!wire_stream(header, stream) || first < 0 || *count < 0 || first > INT64_MAX - *count)
        return false;
    if (!log->next || memcmp(stream, log->stream, sizeof stream) != 0) {
        memcpy(log->stream, stream, sizeof stream);
        log->first = first;
    } else if (first > log->next) {
        add(&log->lost, first - log->next);
    }
    log->next = first + *count;
    add(&log->taken, *count);
    return true;
}

static const struct epoch *explaining(struct bytes header)
{
    int64_t number = wire_count(header, "epoch");
    uint8_t stream[WIRE_STREAM];

    if (!wire_stream(header, stream))
        return NULL;
    for (size_t back = 1; back <= EPOCHS && back <= seen.epochs; back++) {
        const struct epoch *epoch = &seen.epoch[(seen.epochs - back) % EPOCHS];

        if (epoch->number == number && memcmp(epoch->stream, stream, sizeof stream) == 0)
            return epoch;
    }
    return NULL;
}

static void print_line(void)
{
    printf("ticks %lld lost %lld inferences %lld%s", (long long)seen.ticks.taken, (long long)seen.ticks.lost,
           (long long)seen.inferences, seen.shown->simulated ? " simulated" : "");
    for (size_t rail = 0; rail < seen.shown->rails; rail++)
        printf("  %s %.3f W", shown(seen.shown->rail[rail].name), mean(seen.line[rail]));
    puts("");
    fflush(stdout);
    memset(seen.line, 0, sizeof seen.line);
}

/* Other rails have other sums: where an epoch has them, the old ones are let go. */
static void show(const struct epoch *epoch)
{
    bool same = seen.shown && seen.shown->rails == epoch->rails;

    for (size_t rail = 0; same && rail < epoch->rails; rail++)
        same = strcmp(seen.shown->rail[rail].name, epoch->rail[rail].name) == 0;
    if (!same) {
        memset(seen.sum, 0, sizeof seen.sum);
        memset(seen.line, 0, sizeof seen.line);
    }
    seen.shown = epoch;
}

static const char *take_ticks(const struct batch *batch)
{
    int64_t counted, readings = wire_count(batch->header, "readings");

    if (!follow(&seen.ticks, batch->header, &counted) || readings < 0 || readings > WIRE_READINGS || counted > WIRE_COLUMN)
        return "ticks without stream, first, count or readings";
    size_t count = (size_t)counted, width = (size_t)readings;
    const struct column *t_ns = wire_column(batch, "t_ns", "<i8", count);
    const struct column *value = wire_column(batch, "value", "<i8", count * width);
    const struct column *state = wire_column(batch, "state", "|u1", count * width);
    if (!t_ns || !value || !state)
        return "ticks without the columns t_ns, value and state";
    const struct epoch *epoch = explaining(batch->header);
    if (!epoch || epoch->channels != width) {
        add(&seen.unexplained, counted);
        return NULL;
    }
    show(epoch);
    for (size_t tick = 0; tick < count; tick++) {
        double watts[WIRE_READINGS];
        int64_t second = wire_i64(t_ns, tick) / 1000000000;

        wire_watts(epoch, value, state, tick * width, watts);
        for (size_t rail = 0; rail < epoch->rails; rail++) {
            if (isnan(watts[rail]))
                continue;
            seen.sum[rail].ticks++;
            seen.sum[rail].power_w += watts[rail];
            seen.line[rail].ticks++;
            seen.line[rail].power_w += watts[rail];
        }
        if (seen.second && second != seen.second)
            print_line();
        seen.second = second;
    }
    return NULL;
}

static const char *take_journal(const struct batch *batch)
{
    int64_t counted;

    if (!follow(&seen.journal, batch->header, &counted) || counted > WIRE_COLUMN)
        return "records without stream, first or count";
    const struct column *kind = wire_column(batch, "kind", "|u1", (size_t)counted);
    const struct column *length = wire_column(batch, "length", "<u4", (size_t)counted);
    const struct column *body = NULL;
    for (size_t i = 0; i < batch->columns; i++)
        if (bytes_are(batch->column[i].name, "body") && bytes_are(batch->column[i].dtype, "|u1"))
            body = &batch->column[i];
    if (!kind || !length || !body)
        return "records without the columns kind, length and body";
    size_t at = 0;
    for (size_t i = 0; i < (size_t)counted; i++) {
        struct bytes record = {body->data.at + at, wire_u32(length, i)};

        if (record.size > body->length - at)
            return "records that are longer than their bodies";
        at += record.size;
        seen.inferences += kind->data.at[i] == INFERENCE;
        if (kind->data.at[i] == EPOCH) {
            struct epoch *epoch = &seen.epoch[seen.epochs % EPOCHS];
            struct msgpack reader = msgpack_of(record);
            const char *why = wire_epoch(&reader, epoch);

            if (why)
                return why;
            seen.epochs++;
        }
    }
    return NULL;
}

/* The epochs that were before we came. Those that begin later are in the journal. */
static const char *ask_for_epochs(const char *folder)
{
    static const uint8_t question[] = "\x83\xa1v\x01\xa2id\x01\xa2" "do\xa6" "epochs";
    static struct zmtp history;
    struct message answer;
    uint8_t stream[WIRE_STREAM] = {0};
    const char *why = zmtp_open(&history, folder, "history.ipc", "DEALER");

    if (!why && !(why = zmtp_send(&history, (struct bytes){question, sizeof question - 1})))
        why = zmtp_receive(&history, &answer);
    if (why)
        goto out;
    struct msgpack reader = msgpack_of(answer.frames[0]);
    for (size_t keys = msgpack_map(&reader); keys && !reader.broken; keys--) {
        if (!bytes_are(msgpack_text(&reader), "body")) {
            msgpack_skip(&reader);
            continue;
        }
        for (size_t inner = msgpack_map(&reader); inner && !reader.broken; inner--) {
            struct bytes key = msgpack_text(&reader);

            if (bytes_are(key, "stream")) {
                struct bytes found = msgpack_binary(&reader);
                if (found.size == WIRE_STREAM)
                    memcpy(stream, found.at, WIRE_STREAM);
            } else if (bytes_are(key, "epochs")) {
                for (size_t left = msgpack_array(&reader); left && !reader.broken && !why; left--)
                    if (!(why = wire_epoch(&reader, &seen.epoch[seen.epochs % EPOCHS])))
                        seen.epochs++;
            } else {
                msgpack_skip(&reader);
            }
        }
    }
    if (!why && (reader.broken || !seen.epochs))
        why = "an answer without epochs";
    for (size_t i = 0; i < EPOCHS && i < seen.epochs; i++) /* the stream stands beside the list, not in each */
        memcpy(seen.epoch[i].stream, stream, sizeof stream);
out:
    zmtp_close(&history);
    return why;
}

static void print_summary(void)
{
    double total_w = 0;
    bool known = false;

    printf("stream ");
    for (size_t i = 0; i < WIRE_STREAM; i++)
        printf("%02x", seen.ticks.stream[i]);
    printf("\nfirst %lld\nticks %lld\nticks_lost %lld\nunexplained %lld\n", (long long)seen.ticks.first, (long long)seen.ticks.taken,
           (long long)seen.ticks.lost, (long long)seen.unexplained);
    printf("journal_first %lld\nrecords %lld\nrecords_lost %lld\ninferences %lld\n", (long long)seen.journal.first,
           (long long)seen.journal.taken, (long long)seen.journal.lost, (long long)seen.inferences);
    if (!seen.shown)
        return;
    printf("simulated %s\n", seen.shown->simulated ? "true" : "false");
    for (size_t rail = 0; rail < seen.shown->rails; rail++) {
        printf("rail %lld %.12g %s\n", (long long)seen.sum[rail].ticks, mean(seen.sum[rail]), shown(seen.shown->rail[rail].name));
        if (seen.shown->rail[rail].in_total) {
            total_w += mean(seen.sum[rail]);
            known = true;
        }
    }
    printf("total %.12g %s\n", known ? total_w : NAN, seen.shown->module ? "module" : seen.shown->board ? "board" : "unknown");
}

/* A count among the arguments: 0 where it is left out, -1 where it is none. */
static long long count_of(int argc, char **argv, int at)
{
    char *end = NULL;

    if (at >= argc)
        return 0;
    errno = 0;
    long long count = strtoll(argv[at], &end, 10);
    return errno || *end || end == argv[at] ? -1 : count;
}

static const char *serve(struct zmtp *live, const char *folder, long long ticks, long long inferences)
{
    static struct batch batch;
    struct message message;
    bool endless = !ticks && !inferences;
    const char *why = zmtp_open(live, folder, "live.ipc", "SUB");

    if (why || (why = zmtp_subscribe(live, "rails")) || (why = zmtp_subscribe(live, "inferences")) ||
        (why = ask_for_epochs(folder)))
        return why;
    while (endless || seen.ticks.taken < ticks || seen.inferences < inferences) {
        if ((why = zmtp_receive(live, &message)) || (why = wire_batch(&message, &batch)))
            return why;
        if (bytes_are(batch.topic, "rails"))
            why = take_ticks(&batch);
        else if (bytes_are(batch.topic, "inferences"))
            why = take_journal(&batch);
        if (why)
            return why;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static struct zmtp live;
    long long ticks = count_of(argc, argv, 2), inferences = count_of(argc, argv, 3);

    if (argc < 2 || argc > 4 || ticks < 0 || inferences < 0) {
        fputs("usage: subscriber FOLDER [TICKS [INFERENCES]]; FOLDER is the daemon's runtime directory\n", stderr);
        return 2;
    }
    const char *why = serve(&live, argv[1], ticks, inferences);
    zmtp_close(&live);
    print_summary();
    if (why)
        fprintf(stderr, "subscriber: %s: %s\n", argv[1], why);
    return why ? 1 : 0;
}
