/* Runs an XDP program over packets and prints what became of them, then its maps.
 * stdin: packets, each as a 32-bit length and its bytes. Arguments: elements to put into maps first, each as the
 * map's name, key and value in hexadecimal. Compiled with -DPROGRAM=name -DHEADER="name.h". */
#include HEADER

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOIN(a, b) a##b
#define RUN(name) JOIN(name, _run)
#define DESCRIPTOR(name) JOIN(beelift_program_, name)

enum { ROOM = 70000, HEADROOM = 256 };

static uint64_t clock_of(struct beelift_run *run)
{
	(void)run;
	return 3600000000000u;
}

static uint32_t random_of(struct beelift_run *run)
{
	(void)run;
	return 4;
}

static void hex(const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
}

static void bytes_of(const char *text, unsigned char *to)
{
	for (unsigned byte; sscanf(text, "%2x", &byte) == 1; text += 2)
		*to++ = (unsigned char)byte;
}

static int put(const struct beelift_program *program, char **words)
{
	unsigned char key[512], value[512];

	bytes_of(words[1], key);
	bytes_of(words[2], value);
	for (uint32_t i = 0; i < program->map_count; i++)
		if (!strcmp(program->maps[i]->name, words[0]))
			return beelift_map_update(program->maps[i], 0, key, value, 0);
	return -1;
}

int main(int count, char **words)
{
	static unsigned char buffer[ROOM];
	const struct beelift_program *program = &DESCRIPTOR(PROGRAM);
	struct beelift_run run;
	struct beelift_xdp_md context;
	uint32_t length;

	if (beelift_init(program))
		return 1;
	for (int i = 1; i + 2 < count; i += 3)
		if (put(program, words + i))
			return 3;
	beelift_run_begin(&run, 0);
	run.clock = clock_of;
	run.random = random_of;
	while (fread(&length, sizeof length, 1, stdin) == 1) {
		uint64_t result;
		int trap;

		memset(buffer, 0, sizeof buffer);
		if (length > ROOM - HEADROOM || fread(buffer + HEADROOM, 1, length, stdin) != length)
			return 2;
		memset(&context, 0, sizeof context);
		context.ingress_ifindex = 1;
		/* The room of a one-page frame, as in a test run of the kernel. */
		beelift_packet_enter(&context.packet, buffer, 4096 - 320, HEADROOM, length);
		trap = RUN(PROGRAM)(&run, &context, 0, &result);
		printf("%d %llu ", trap, (unsigned long long)result);
		hex((void *)(uintptr_t)context.packet.data, context.packet.data_end - context.packet.data);
		putchar('\n');
	}
	for (uint32_t i = 0; i < program->map_count; i++) {
		struct beelift_map *map = program->maps[i];
		unsigned char key[512];
		uint64_t cursor = 0;

		while (beelift_map_next(map, &cursor, key)) {
			printf("%s ", map->name);
			hex(key, map->key_size);
			putchar(' ');
			hex(beelift_map_lookup(map, 0, key), map->value_size);
			putchar('\n');
		}
	}
	return 0;
}
