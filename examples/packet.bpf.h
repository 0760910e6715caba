/* Parsing that the example programs share: a cursor over the packet, Ethernet with VLAN tags, IPv4, IPv6. */
#ifndef PACKET_BPF_H
#define PACKET_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VLAN_TAGS 2
#define MAX_IPV6_EXTENSIONS 4
#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS 0x2000

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

struct ipv6_extension {
	__u8 next;
	__u8 length; /* in units of 8 bytes, without the first 8 */
	__u8 rest[6];
};

/* Source and destination of a packet; IPv4 addresses stand in the first word. */
struct flow {
	__be32 source[4];
	__be32 destination[4];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 version;
	__u8 pad[2];
};

struct packet {
	void *data;
	void *end;
	void *network;   /* IPv4 or IPv6 header */
	void *transport; /* what follows it */
	struct flow flow;
	__u16 vlan; /* id of the outer tag, 0 without one */
	__u8 fragment; /* a fragment other than the first: no ports */
	__u8 tcp_flags;
};

enum parse_result { PARSE_OK, PARSE_NOT_IP, PARSE_MALFORMED };

static __always_inline enum parse_result parse_ipv4(struct packet *packet)
{
	struct iphdr *ip = packet->network;

	if ((void *)(ip + 1) > packet->end || ip->version != 4 || ip->ihl < 5)
		return PARSE_MALFORMED;
	packet->transport = packet->network + ip->ihl * 4;
	if (packet->transport > packet->end)
		return PARSE_MALFORMED;
	packet->flow.version = 4;
	packet->flow.source[0] = ip->saddr;
	packet->flow.destination[0] = ip->daddr;
	packet->flow.protocol = ip->protocol;
	packet->fragment = (ip->frag_off & bpf_htons(IP_FRAGMENT_OFFSET)) != 0;
	return PARSE_OK;
}

static __always_inline enum parse_result parse_ipv6(struct packet *packet)
{
	struct ipv6hdr *ip = packet->network;
	__u8 next;

	if ((void *)(ip + 1) > packet->end || ip->version != 6)
		return PARSE_MALFORMED;
	next = ip->nexthdr;
	packet->transport = ip + 1;
	__builtin_memcpy(packet->flow.source, &ip->saddr, 16);
	__builtin_memcpy(packet->flow.destination, &ip->daddr, 16);
	packet->flow.version = 6;
	for (int i = 0; i < MAX_IPV6_EXTENSIONS; i++) {
		struct ipv6_extension *extension = packet->transport;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		if ((void *)(extension + 1) > packet->end)
			return PARSE_MALFORMED;
		next = extension->next;
		packet->transport += 8 + extension->length * 8;
	}
	packet->flow.protocol = next;
	return PARSE_OK;
}

static __always_inline enum parse_result parse_ports(struct packet *packet)
{
	if (packet->fragment)
		return PARSE_OK;
	if (packet->flow.protocol == IPPROTO_TCP) {
		struct tcphdr *tcp = packet->transport;

		if ((void *)(tcp + 1) > packet->end)
			return PARSE_MALFORMED;
		packet->flow.source_port = tcp->source;
		packet->flow.destination_port = tcp->dest;
		packet->tcp_flags = ((__u8 *)tcp)[13];
	} else if (packet->flow.protocol == IPPROTO_UDP) {
		struct udphdr *udp = packet->transport;

		if ((void *)(udp + 1) > packet->end)
			return PARSE_MALFORMED;
		packet->flow.source_port = udp->source;
		packet->flow.destination_port = udp->dest;
	}
	return PARSE_OK;
}

static __always_inline enum parse_result parse(struct xdp_md *ctx, struct packet *packet)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	enum parse_result result;
	__be16 protocol;

	__builtin_memset(packet, 0, sizeof(*packet));
	packet->data = (void *)(long)ctx->data;
	packet->end = (void *)(long)ctx->data_end;
	if ((void *)(eth + 1) > packet->end)
		return PARSE_MALFORMED;
	protocol = eth->h_proto;
	packet->network = eth + 1;
	for (int i = 0; i < MAX_VLAN_TAGS; i++) {
		struct vlan_tag *tag = packet->network;

		if (protocol != bpf_htons(ETH_P_8021Q) && protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > packet->end)
			return PARSE_MALFORMED;
		if (i == 0)
			packet->vlan = bpf_ntohs(tag->tci) & 0xfff;
		protocol = tag->protocol;
		packet->network = tag + 1;
	}
	if (protocol == bpf_htons(ETH_P_IP))
		result = parse_ipv4(packet);
	else if (protocol == bpf_htons(ETH_P_IPV6))
		result = parse_ipv6(packet);
	else
		return PARSE_NOT_IP;
	if (result != PARSE_OK)
		return result;
	return parse_ports(packet);
}

#endif
