/* Runs an XDP program over packets and prints what became of them, then its maps.
 * stdin: packets, each as a 32-bit length and its bytes. Compiled with -DPROGRAM=name -DHEADER="name.h". */
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

int main(void)
{
	static unsigned char buffer[ROOM];
	const struct beelift_program *program = &DESCRIPTOR(PROGRAM);
	struct beelift_run run;
	struct beelift_xdp_md context;
	uint32_t length;

	if (beelift_init(program))
		return 1;
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
