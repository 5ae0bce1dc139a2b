/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.c - the ring's own source over modelled memory, and what must hold of it
 *
 * Ticks have no readings here: index, slot and t_ns are their payload, and the protocol treats all words
 * after the commit alike. The lock that keeps writers apart is the kernel's: what a killed writer stored
 * happens before what the next one does, so both lives run in the writer's thread.
 */
#include "ring.c"
#include "ring_read.c"

enum { WORDS = TICK_EPOCH_AND_N, MOST_TICKS = 8, TOUCHED = RING_TICKS_AT / 8 + MOST_TICKS * RING_TICK_WORDS };

static uint64_t file[TOUCHED];
static unsigned numbers[TOUCHED]; /* of words, from 1 in the order they are first seen */
static unsigned seen;

/* The writer's life: it is dead once it has no stores left. */
enum { IMMORTAL = 1000 };
static unsigned stores_left;
static uint64_t committed; /* ticks whose commit word was stored */
static uint64_t committed_epoch;

static struct np_ring ring; /* as a reader and the first writer map it */

unsigned protocol_word(const uint64_t *word)
{
	size_t at = (size_t)(word - file);

	if (!numbers[at])
		numbers[at] = ++seen;
	if (seen >= MODEL_WORDS)
		abort();
	return numbers[at];
}

void protocol_store(uint64_t *word, uint64_t value, enum model_order order)
{
	size_t at = (size_t)(word - file);

	if (!stores_left)
		return;
	stores_left -= stores_left != IMMORTAL;
	model_store(word, value, order);
	if (!value)
		return;
	if (at >= RING_TICKS_AT / 8 && (at - RING_TICKS_AT / 8) % ring.words == TICK_COMMIT)
		committed = value;
	if (word == ring_entry(&ring, value) + ENTRY_COMMIT)
		committed_epoch = value;
}

static void open_ring(uint64_t capacity, uint64_t words)
{
	ring = (struct np_ring){
		.header = (struct ring_header *)file,
		.epochs = file + RING_HEADER_BYTES / 8,
		.ticks = file + RING_TICKS_AT / 8,
		.capacity = capacity,
		.words = words,
		.writer = true,
	};
	stores_left = IMMORTAL;
	committed = committed_epoch = 0;
	shared_store(&ring.header->next_epoch, 1);
}

/* In the n-th life of the writer the tick `index` has slot and t_ns of n, so that a mixture shows. */
static uint64_t payload(uint64_t life, uint64_t index)
{
	return 1000 * life + index;
}

static void publish(struct np_ring *writer, uint64_t life, uint64_t epoch)
{
	uint64_t mark = payload(life, writer->next);

	ring_publish(writer, mark, (int64_t)mark, (uint32_t)epoch, NULL);
}

/* Read from any index on. Returns the first index got; whole ticks only are ever got. */
static uint64_t read_ticks(uint64_t from, uint64_t *count)
{
	uint64_t words[MOST_TICKS * RING_TICK_WORDS] = { 0 };
	uint64_t first, lost;
	int64_t got = np_ring_read(&ring, from, 2, words, &first, &lost);

	model_expect(got >= 0 && first == from + lost, "ticks read and lost do not add up");
	for (uint64_t i = 0; i < (uint64_t)got; i++) {
		const uint64_t *tick = words + i * ring.words;
		uint64_t life = tick[TICK_SLOT] / 1000;

		model_expect(tick[TICK_COMMIT] == first + i + 1 && tick[TICK_INDEX] == first + i, "a torn tick: index");
		model_expect(life > 0 && tick[TICK_SLOT] == payload(life, first + i), "a torn tick: slot");
		model_expect(tick[TICK_T_NS] == tick[TICK_SLOT], "a torn tick: t_ns");
	}
	*count = (uint64_t)got;
	return first;
}

static void read_any(void)
{
	uint64_t count;

	read_ticks(model_choose(5), &count);
}

/* What next_index announces is there, as long as it was not overwritten. */
static void read_announced(void)
{
	struct np_ring_info info;
	uint64_t count;

	np_ring_info(&ring, &info);
	if (!info.next_index)
		return;
	model_expect(read_ticks(info.next_index - 1, &count) == info.next_index - 1, "an announced tick is counted as lost");
	model_expect(count > 0, "an announced tick is not there");
}

/* ---- Scenarios ------------------------------------------------------------------------------ */

static void make_two(void)
{
	open_ring(2, WORDS);
}

static void make_four(void)
{
	open_ring(4, WORDS);
}

static void make_eight(void)
{
	open_ring(8, WORDS);
}

static void publish_six(void)
{
	for (int i = 0; i < 6; i++)
		publish(&ring, 1, 1);
}

/* Some are overwritten, the newest never is. */
static void read_some_of_six(void)
{
	uint64_t from = model_choose(6), count;

	model_expect(read_ticks(from, &count) < 6, "a tick that is there is counted as lost");
}

static void publish_three(void)
{
	for (int i = 0; i < 3; i++)
		publish(&ring, 1, 1);
}

/* Killed after any of its stores; another one takes over. */
static void publish_killed(void)
{
	struct np_ring next = ring;

	stores_left = model_choose(19);
	publish_three();
	stores_left = IMMORTAL;
	model_expect(find_next(&next) && find_next_epoch(&next), "the stream does not go on");
	model_expect(next.next == committed, "a whole tick is written again");
	publish(&next, 2, 1);
	publish(&next, 2, 1);
}

/* Epoch 65 takes the place of epoch 1; the 63 between are elsewhere. */
static void begin_epoch(struct np_ring *writer)
{
	uint64_t number = shared_load(&writer->header->next_epoch);
	uint64_t document[2] = { number, number };
	uint32_t got;

	model_expect(!np_ring_begin_epoch(writer, (uint8_t *)document, sizeof(document), &got), "no epoch begins");
}

static void make_epoch(void)
{
	open_ring(8, RING_TICK_WORDS);
	begin_epoch(&ring);
	shared_store(&ring.header->next_epoch, 65);
}

static void replace_epoch(void)
{
	struct np_ring next = ring;

	/* Killed after any store, or not at all. */
	stores_left = model_choose(9);
	if (stores_left == 8)
		stores_left = IMMORTAL;
	begin_epoch(&ring);
	if (!stores_left) {
		stores_left = IMMORTAL;
		model_expect(find_next_epoch(&next), "the table of epochs does not go on");
		model_expect(shared_load(&next.header->next_epoch) > committed_epoch, "a whole epoch is written again");
		if (shared_load(&next.header->next_epoch) == 65)
			begin_epoch(&next);
	}
	publish(&next, 1, 65);
}

static bool epoch_is_there(uint32_t number)
{
	uint64_t document[RING_DOCUMENT_BYTES / 8];
	uint64_t first;
	uint32_t length;

	if (np_ring_epoch(&ring, number, &first, (uint8_t *)document, &length))
		return false;
	model_expect(length == sizeof(uint64_t[2]) && document[0] == number && document[1] == number, "a torn epoch");
	return true;
}

static void read_any_epoch(void)
{
	epoch_is_there(model_choose(2) ? 65 : 1);
}

static void read_announced_epoch(void)
{
	struct np_ring_info info;

	np_ring_info(&ring, &info);
	if (info.next_epoch == 66)
		model_expect(epoch_is_there(65), "an announced epoch is not there");
}

/* Whoever has a tick can have its epoch. */
static void read_tick_and_epoch(void)
{
	uint64_t count;

	read_ticks(0, &count);
	if (count)
		model_expect(epoch_is_there(65), "a tick's epoch is not there");
}

const struct scenario scenarios[] = {
	{ "lapped", make_four, publish_six, read_some_of_six },
	{ "announced", make_eight, publish_three, read_announced },
	{ "killed, lapped", make_two, publish_killed, read_any },
	{ "killed, announced", make_eight, publish_killed, read_announced },
	{ "epoch replaced", make_epoch, replace_epoch, read_any_epoch },
	{ "epoch announced", make_epoch, replace_epoch, read_announced_epoch },
	{ "epoch of a tick", make_epoch, replace_epoch, read_tick_and_epoch },
};
const size_t scenario_count = sizeof(scenarios) / sizeof(*scenarios);
