/* SPDX-License-Identifier: Apache-2.0 */
/*
 * subscriber.c - the example client in C, whose every byte comes from a peer
 *
 * A case is either messages as they stand once ZMTP has cut them, each its number of frames and these with two bytes of length; or what a
 * peer sends from the greeting on.
 */
#define main subscriber_main
#include "../../../examples/subscriber/subscriber.c"
#undef main
#include "../../../examples/subscriber/zmtp.c"

/* A copy of its own size, so that a byte too much is noticed. */
static struct bytes frame_of(const uint8_t *data, size_t size)
{
	uint8_t *copy = malloc(size);

	memcpy(copy, data, size);
	return (struct bytes){ copy, size };
}

static void take_message(const struct message *message)
{
	static struct batch batch;

	if (wire_batch(message, &batch))
		return;
	if (bytes_are(batch.topic, "rails"))
		take_ticks(&batch);
	else
		take_journal(&batch);
}

static void take_messages(const uint8_t *data, size_t size)
{
	size_t at = 0;

	while (at < size) {
		struct message message = { .count = 0 };
		size_t frames = data[at++] % (ZMTP_FRAMES + 1);

		while (message.count < frames && at + 2 <= size) {
			size_t length = (size_t)(data[at] | data[at + 1] << 8);

			at += 2;
			length = length < size - at ? length : size - at;
			message.frames[message.count++] = frame_of(data + at, length);
			at += length;
		}
		take_message(&message);
		while (message.count)
			free((void *)message.frames[--message.count].at);
	}
	print_summary();
}

static void take_stream(const uint8_t *data, size_t size)
{
	static struct zmtp zmtp;
	struct message message;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		abort();
	memset(&zmtp, 0, sizeof(zmtp));
	zmtp.descriptor = ends[0];
	if (send(ends[1], data, size, 0) != (ssize_t)size || shutdown(ends[1], SHUT_WR))
		abort();
	if (!shake_hands(&zmtp, "SUB"))
		while (!zmtp_receive(&zmtp, &message))
			take_message(&message);
	zmtp_close(&zmtp);
	close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int quiet;

	if (!quiet++ && !freopen("/dev/null", "w", stdout))
		abort();
	if (!size)
		return 0;
	/* All but the epochs' own four megabytes: none of them is looked at before it is made. */
	memset((char *)&seen + sizeof(seen.epoch), 0, sizeof(seen) - sizeof(seen.epoch));
	if (data[0] & 1)
		take_stream(data + 1, size - 1);
	else
		take_messages(data + 1, size - 1);
	return 0;
}
