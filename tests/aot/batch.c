/* Runs many XDP programs, each over its own packets, and prints what became of them and of their maps.
 * stdin: for each program the number of packets, and each packet as a length and its bytes. `programs` is the table of
 * them all, ended by a null pointer. */
#include "beelift.h"

#include <stdio.h>
#include <string.h>

enum { ROOM = 4096 - 320, HEADROOM = 256 };

extern const struct beelift_program *const programs[];

/* The native context of XDP programs, as the headers of their objects have it. */
struct context {
	struct beelift_packet packet;
	uint32_t others[16];
};

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

static void print_map(struct beelift_map *map)
{
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

int main(void)
{
	static unsigned char buffer[ROOM];

	for (size_t i = 0; programs[i]; i++) {
		const struct beelift_program *program = programs[i];
		uint32_t count, length;

		if (beelift_init(program) || fread(&count, sizeof count, 1, stdin) != 1)
			return 1;
		while (count--) {
			struct beelift_run run;
			struct context context;
			uint64_t result;
			int trap;

			memset(buffer, 0, sizeof buffer);
			if (fread(&length, sizeof length, 1, stdin) != 1 || length > ROOM - HEADROOM ||
			    fread(buffer + HEADROOM, 1, length, stdin) != length)
				return 2;
			beelift_run_begin(&run, 0);
			run.clock = clock_of;
			run.random = random_of;
			memset(&context, 0, sizeof context);
			context.others[0] = 1; /* ingress_ifindex */
			beelift_packet_enter(&context.packet, buffer, ROOM, HEADROOM, length);
			trap = beelift_run_program(program, &run, &context, 0, &result);
			printf("%d %llu ", trap, (unsigned long long)result);
			hex((void *)(uintptr_t)context.packet.data, context.packet.data_end - context.packet.data);
			putchar('\n');
		}
		for (uint32_t map = 0; map < program->map_count; map++)
			print_map(program->maps[map]);
		puts("end");
	}
	return 0;
}
