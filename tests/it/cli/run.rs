//! `run`: inputs of every kind, results, engines, and what bad input is told.

use std::path::Path;

use serde_json::Value;

use super::{FIREWALL, Scratch, beelift, example};
use crate::require;

const TRAFFIC: &str = "examples/traffic.pcap";
/// A frame that the firewall passes: not IP.
const ARP: &str = "ffffffffffff02000000000108060001080006040001020000000001c0a80001000000000000c0a80002";
/// `r0 = 2; exit`
const PASS: &str = "hex:b7000000020000009500000000000000";

/// Lines of a capture file, with the link type and the frames given.
fn capture(link: u32, frames: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x4_0000, link] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("a short frame");
        for word in [0, 0, len, len] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn runs(value: &Value) -> &[Value] {
    value["runs"].as_array().expect("runs")
}

#[test]
fn a_capture_runs_packet_by_packet() {
    let value = beelift(&["run", FIREWALL, "--pcap", TRAFFIC, "--json", "--maps", "--engine", "jit"])
        .status(0)
        .json();
    assert_eq!((&value["schema"], &value["engine"]), (&1.into(), &"jit".into()));
    assert_eq!((&value["program"], &value["type"]), (&"firewall".into(), &"xdp".into()));
    assert!(runs(&value).len() > 50);
    let run = &runs(&value)[0];
    assert!(run["packet"].is_string() && run["context"].is_string() && run["trap"].is_null(), "{run}");
    let actions = &value["summary"]["actions"];
    let count = |action: &str| actions[action].as_u64().unwrap_or(0);
    assert!(count("XDP_PASS") > 0 && count("XDP_DROP") > 0, "{actions}");
    assert_eq!(count("XDP_PASS") + count("XDP_DROP"), runs(&value).len() as u64);
    assert_eq!(value["summary"]["runs"], runs(&value).len());
    assert_eq!(value["maps"]["counters"]["type"], "percpu_array");
    let entries = value["maps"]["counters"]["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 8);
    assert!(entries[0]["values"].is_array() && entries[0]["key"] == "00000000");
    let text = beelift(&["run", FIREWALL, "--pcap", TRAFFIC, "--maps"]).status(0);
    text.prints("XDP_DROP").prints("ns").prints(".packets = ").prints("verify");
}

#[test]
fn every_engine_gives_the_same() {
    let actions = |engine: &str| {
        let args = ["run", FIREWALL, "--pcap", TRAFFIC, "--json", "--clock", "1000", "--engine", engine];
        beelift(&args).status(0).json()["summary"]["actions"].clone()
    };
    let jit = actions("jit");
    assert_eq!(jit, actions("interpreter"));
    if require::kernel("run --engine kernel") {
        assert_eq!(jit, actions("kernel"));
    }
}

#[test]
fn all_engines_agree_on_the_examples() {
    for name in ["balancer", "firewall", "flowmon", "ratelimit"] {
        let object = format!("examples/{name}.bpf.o");
        let value =
            beelift(&["run", &object, "--pcap", TRAFFIC, "--engine", "all", "--json"]).status(0).json();
        assert_eq!(value["agree"], true, "{name}");
        let engines = &value["engines"];
        assert!(engines["jit"]["runs"].is_array() && engines["interpreter"]["runs"].is_array(), "{name}");
        if require::kernel("run --engine all") {
            assert!(engines["kernel"]["runs"].is_array(), "{name}: {}", engines["kernel"]);
        }
    }
}

#[test]
fn queues_and_stacks_are_compared_and_what_cannot_be_is_named() {
    let program = Scratch::new(
        "queues.s",
        ".map fifo queue key=0 value=8 entries=4
         .map lifo stack key=0 value=8 entries=4
         .map events perf_event_array key=4 value=4 entries=0
          r6 = r1
          *(u64 *)(r10 -8) = 7
          r1 = map[fifo] ll
          r2 = r10
          r2 += -8
          r3 = 0
          call bpf_map_push_elem
          *(u64 *)(r10 -8) = 9
          r1 = map[lifo] ll
          r2 = r10
          r2 += -8
          r3 = 0
          call bpf_map_push_elem
          r1 = r6
          r2 = map[events] ll
          r3 = 0xffffffff ll
          r4 = r10
          r4 += -8
          r5 = 8
          call bpf_perf_event_output
          r0 = 2
          exit",
    );
    let args = ["run", program.path(), "--type", "xdp", "--packet", ARP];
    let one = |more: &[&str]| beelift(&[&args[..], more].concat());
    let maps = one(&["--maps", "--json"]).status(0).json();
    let value = |map: &str| maps["maps"][map]["entries"][0]["value"].clone();
    assert_eq!((value("fifo"), value("lifo")), ("0700000000000000".into(), "0900000000000000".into()));
    let text = one(&["--engine", "all"]).status(0).says("map `events`");
    if require::kernel("queues in the kernel") {
        text.prints("kernel: 1 runs");
    }
}

#[test]
fn layer_three_does_not_see_the_ethernet_header() {
    let program = Scratch::new("one.s", "r0 = *(u32 *)(r1 +0)\nexit");
    let args = ["run", program.path(), "--packet", ARP, "--json", "--type"];
    let one = |kind: &str, engine: &str| {
        let value = beelift(&[&args[..], &[kind, "--engine", engine]].concat()).status(0).json();
        let run = &runs(&value)[0];
        (run["return"].as_u64(), run["packet"].as_str().map(str::to_owned))
    };
    let length = ARP.len() as u64 / 2;
    let kernel = require::kernel("packets without their first header");
    for engine in ["interpreter", "jit", "kernel"].into_iter().take(if kernel { 3 } else { 2 }) {
        assert_eq!(one("sched_cls", engine), (Some(length), Some(ARP.to_owned())), "{engine}");
        assert_eq!(one("socket_filter", engine), (Some(length - 14), Some(ARP.to_owned())), "{engine}");
    }
}

#[test]
fn one_packet_from_the_command_line() {
    let value = beelift(&["run", FIREWALL, "--packet", ARP, "--json"]).status(0).json();
    assert_eq!((&runs(&value)[0]["return"], &runs(&value)[0]["action"]), (&2.into(), &"XDP_PASS".into()));
    assert_eq!(runs(&value)[0]["packet"], ARP);
    let file = Scratch::new("packet", [0; 60]);
    beelift(&["run", PASS, "--type", "xdp", "--packet", &format!("@{}", file.path())]).status(0);
    beelift(&["run", PASS, "--type", "xdp", "--packet", ARP, "--repeat", "1000"]).status(0).prints("1000");
}

#[test]
fn vectors_name_their_inputs() {
    let file = Scratch::new("vectors", format!("# name packet context\nfirst {ARP}\n\nsecond {ARP} -\n"));
    let value = beelift(&["run", FIREWALL, "--vectors", file.path(), "--json"]).status(0).json();
    let names: Vec<&str> = runs(&value).iter().filter_map(|run| run["name"].as_str()).collect();
    assert_eq!(names, ["first", "second"]);
    let bad = Scratch::new("vectors-bad", format!("first {ARP}\nsecond 0g\n"));
    beelift(&["run", FIREWALL, "--vectors", bad.path()]).status(1).says("vectors-bad:2").says("`g`");
    let long = Scratch::new("vectors-long", "a - - -\n");
    beelift(&["run", FIREWALL, "--vectors", long.path()]).status(1).says("vectors-long:1");
}

#[test]
fn captures_are_written_and_read_again() {
    let out = Scratch::new("out.pcap", []);
    beelift(&["run", FIREWALL, "--pcap", TRAFFIC, "--write", out.path()]).status(0);
    let passed = beelift(&["run", PASS, "--type", "xdp", "--pcap", out.path(), "--json"]).status(0).json();
    let all = beelift(&["run", FIREWALL, "--pcap", TRAFFIC, "--json"]).status(0).json();
    assert_eq!(Some(runs(&passed).len() as u64), all["summary"]["actions"]["XDP_PASS"].as_u64());
    beelift(&["run", FIREWALL, "--pcap", TRAFFIC, "--write-all", out.path()]).status(0);
    let every = beelift(&["run", PASS, "--type", "xdp", "--pcap", out.path(), "--json"]).status(0).json();
    assert_eq!(runs(&every).len(), runs(&all).len());
}

#[test]
fn broken_captures_say_where() {
    let run = |file: &Scratch| beelift(&["run", FIREWALL, "--pcap", file.path()]);
    let whole = example("traffic.pcap");
    let cut = Scratch::new("cut.pcap", &whole[..whole.len() - 5]);
    run(&cut).status(1).says("cut.pcap: packet ").says("ends inside a packet");
    run(&Scratch::new("empty.pcap", [])).status(1).says("empty.pcap").says("not a capture");
    run(&Scratch::new("text.pcap", "GET / HTTP/1.1")).status(1).says("not a capture");
    run(&Scratch::new("short.pcap", &whole[..10])).status(1).says("ends inside its header");
    run(&Scratch::new("raw.pcap", capture(101, &[&[0x45; 20]]))).status(1).says("link type").says("Ethernet");
    beelift(&["run", FIREWALL, "--pcap", "/no/such.pcap"]).status(1).says("/no/such.pcap");
    let mut long = capture(1, &[&[0; 60]]);
    long[24 + 8..24 + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    long[24 + 12..24 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    run(&Scratch::new("long.pcap", long)).status(1).says("packet 1");
    beelift(&["run", FIREWALL, "--pcap", "examples"]).status(1).says("examples: ").says("directory");
    // A frame longer than any interface delivers is named, one of 64 KiB runs.
    let frame = vec![0; (256 << 10) + 1];
    let long = |link, frames: &[&[u8]]| {
        let mut capture = capture(link, frames);
        capture[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        capture
    };
    run(&Scratch::new("giant.pcap", long(1, &[&[0; 60], &frame])))
        .status(1)
        .says("giant.pcap: packet 2")
        .says("a frame of 262145 bytes")
        .says("up to 262144");
    // Every place to cut a capture is a clear error or the end of a packet.
    let small = capture(1, &[&[1; 14], &[], &[2; 60]]);
    for len in 0..small.len() {
        let cut = run(&Scratch::new(&format!("cut-{len}.pcap"), &small[..len]));
        match len {
            0..4 => cut.status(1).says("shorter than its magic number"),
            4..24 => cut.status(1).says("ends inside its header"),
            24 | 54 | 70 => cut.status(0),
            _ => cut.status(1).says("ends inside a packet"),
        };
    }
}

#[test]
fn pcapng_is_read_as_well() {
    let block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let len = (12 + padded as u32).to_le_bytes();
        let body = body.iter().copied().chain(std::iter::repeat_n(0, padded - body.len()));
        kind.to_le_bytes().into_iter().chain(len).chain(body).chain(len).collect::<Vec<u8>>()
    };
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let section = block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    let interface = |link: u32| block(1, &words(&[link, 0]));
    let packet = block(6, &[words(&[0, 0, 0, 61, 61]), vec![0; 61]].concat());
    let whole = [section.clone(), interface(1), packet.clone(), packet.clone()].concat();
    let args = |path| ["run", FIREWALL, "--json", "--pcap", path];
    let file = Scratch::new("whole.pcapng", &whole);
    let value = beelift(&args(file.path())).status(0).json();
    assert_eq!(runs(&value).len(), 2);
    assert_eq!(runs(&value)[0]["packet"], "00".repeat(61));
    let file = Scratch::new("cut.pcapng", &whole[..whole.len() - 9]);
    beelift(&args(file.path())).status(1).says_json("ends inside a packet");
    let file = Scratch::new("raw.pcapng", [section.clone(), interface(101), packet.clone()].concat());
    beelift(&args(file.path())).status(1).says_json("link type");
    let file = Scratch::new("nowhere.pcapng", [section, packet].concat());
    beelift(&args(file.path())).status(1).says_json("interface 0");
}

#[test]
fn odd_packets_run() {
    let value = |frames: &[&[u8]]| {
        let file = Scratch::new(&format!("odd-{}.pcap", frames.len()), capture(1, frames));
        beelift(&["run", FIREWALL, "--pcap", file.path(), "--json", "--engine", "jit"]).status(0).json()
    };
    // No packet at all, then an empty one, one of a byte, and the longest a capture holds.
    assert_eq!(runs(&value(&[])).len(), 0);
    assert_eq!(runs(&value(&[&[], &[1], &[0; 65_535]])).len(), 3);
}

#[test]
fn bad_inputs_are_told_apart() {
    beelift(&["run", FIREWALL]).status(2).says("--packet");
    beelift(&["run", FIREWALL, "--packet", "0g"]).status(1).says("`g` at 1");
    beelift(&["run", FIREWALL, "--packet", "012"]).status(1).says("half");
    beelift(&["run", FIREWALL, "--packet", "@/no/such"]).status(1).says("/no/such");
    beelift(&["run", FIREWALL, "--packet", ARP, "--pcap", TRAFFIC]).status(2).says("exclude");
    beelift(&["run", FIREWALL, "--packet", ARP, "--context", "nothing=1"])
        .status(2)
        .says("no field `nothing`");
    beelift(&["run", FIREWALL, "--packet", ARP, "--engine", "steam"]).status(2);
    beelift(&["run", FIREWALL, "--packet", ARP, "-p", "nobody"]).status(1).says("no program `nobody`");
}

#[test]
fn maps_are_filled_before() {
    let run = |map: &str| beelift(&["run", FIREWALL, "--packet", ARP, "--map", map, "--maps", "--json"]);
    // 10.0.0.0/8
    let file = Scratch::new("fill.json", r#"[{"key":"080000000a000000","value":"0000000000000000"}]"#);
    let value = run(&format!("blocked_v4={}", file.path())).status(0).json();
    let entries = value["maps"]["blocked_v4"]["entries"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| entry["key"] == "080000000a000000"), "{entries:?}");
    run(&format!("nowhere={}", file.path())).status(1).says_json("nowhere");
    run(&format!("counters={}", file.path())).status(1);
    run("blocked_v4=/no/such.json").status(1).says_json("/no/such.json");
    let bad = Scratch::new("bad.json", "[{\"key\":");
    run(&format!("blocked_v4={}", bad.path())).status(1).says_json("bad.json");
    run("blocked_v4").status(2);
}

#[test]
fn elements_are_given_by_type_and_on_the_command_line() {
    let run = |map: &str| beelift(&["run", FIREWALL, "--packet", ARP, "--map", map, "--maps", "--json"]);
    let value = run(r#"services=[{"key": {"port": 80, "protocol": 6}, "value": 1}]"#).status(0).json();
    let entries = value["maps"]["services"]["entries"].as_array().expect("entries");
    assert_eq!((&entries[0]["formatted"]["key"]["port"], entries.len()), (&80.into(), 1), "{entries:?}");
    run(r#"services={"key": {"prt": 80}, "value": 1}"#)
        .status(1)
        .says_json("no member `prt`")
        .says_json("port");
    run(r#"services={"key": {"port": 65536}, "value": 1}"#).status(1).says_json("does not fit 16 bits");
    run(r#"services={"value": 1}"#).status(1).says_json("`key` is missing").says_json("element 0");
    run(r#"services={"key": "00500600"}"#).status(1).says_json("`value` is missing");
    run(r#"services={"key": "00500600", "valu": 1}"#).status(1).says_json("`valu` is no part");
    run("services=[7]").status(1).says_json("7 is no element");
    run(r#"services={"key": "00500600", "values": 1}"#).status(1).says_json("one value for each CPU");
    run(r#"services={"key": "005006", "value": 1}"#).status(1);
}

#[test]
fn programs_and_maps_are_values() {
    let tail = "tests/cases/calls/tail.bpf.o";
    let maps = "tests/cases/elf/maps.bpf.o";
    let run = |object: &str, program: &str, engine: &str, fill: &[&str]| {
        let options = fill.iter().flat_map(|fill| ["--map", fill]);
        let args = ["run", object, "-p", program, "--packet", ARP, "--json", "--engine", engine];
        beelift(&args.into_iter().chain(options).collect::<Vec<_>>())
    };
    let mut engines = vec!["jit", "interpreter"];
    if require::kernel("programs and maps as values in the kernel") {
        engines.push("kernel");
    }
    for engine in engines {
        let returns = |outcome: super::Outcome| outcome.status(0).json()["runs"][0]["return"].as_u64();
        // `tree` makes two tail calls through element 0, whose results it adds to 1.
        let leaf = r#"jumps={"key": 0, "value": {"program": "leaf"}}"#;
        assert_eq!(returns(run(tail, "tree", engine, &[leaf])), Some(11), "{engine}");
        // `use_maps` returns the first value of the map at element 0.
        let inner = [r#"inner_b={"key": 0, "value": 7}"#, r#"outer={"key": 0, "value": {"map": "inner_b"}}"#];
        assert_eq!(returns(run(maps, "use_maps", engine, &inner)), Some(7), "{engine}");
    }
    if require::kernel("programs as values on all engines") {
        run(tail, "tree", "all", &[r#"jumps={"key": 0, "value": {"program": "leaf"}}"#]).status(0);
    }
    let jit = |object, program, fill| run(object, program, "jit", &[fill]);
    jit(tail, "tree", r#"jumps={"key": 0, "value": {"program": "nobody"}}"#).status(1).says_json("nobody");
    jit(tail, "tree", r#"jumps={"key": 9, "value": {"program": "leaf"}}"#).status(1).says_json("jumps");
    jit(tail, "tree", r#"jumps={"key": 0, "value": "00000000"}"#)
        .status(1)
        .says_json("{\\\"program\\\": NAME}");
    jit(maps, "use_maps", r#"outer={"key": 0, "value": {"map": "nothing"}}"#).status(1).says_json("nothing");
    jit(maps, "use_maps", r#"outer={"key": 0, "value": {"map": "sizes"}}"#).status(1).says_json("outer");
    jit(maps, "use_maps", r#"outer={"key": 0, "value": {"program": "tail_one"}}"#)
        .status(1)
        .says_json("is no value of a array_of_maps");
}

#[test]
fn maps_of_an_earlier_run_are_where_the_next_one_starts() {
    let run = |rest: &[&str]| {
        let args = [&["run", FIREWALL, "--pcap", TRAFFIC, "--maps", "--json"], rest].concat();
        beelift(&args).status(0)
    };
    let first = run(&[]);
    let saved = Scratch::new("saved.json", &first.stdout);
    let second = run(&["--restore", saved.path()]).json();
    let packets = |value: &Value| {
        let entries = value["maps"]["counters"]["entries"].as_array().expect("entries").clone();
        let values =
            entries.iter().flat_map(|entry| entry["formatted"]["value"].as_array().expect("per CPU").clone());
        values.map(|value| value["packets"].as_u64().expect("a number")).sum::<u64>()
    };
    assert!(packets(&first.json()) > 0);
    assert_eq!(packets(&second), 2 * packets(&first.json()));
    let other = Scratch::new("other.json", "{}");
    beelift(&["run", FIREWALL, "--packet", ARP, "--restore", other.path()]).status(1).says("--json --maps");
    beelift(&["run", FIREWALL, "--packet", ARP, "--restore", "/no/such"]).status(1).says("/no/such");
}

#[test]
fn programs_without_a_proof_run_checked() {
    let file = Scratch::new("unproven.s", "r2 = *(u32 *)(r1 +0)\nr0 = *(u8 *)(r2 +14)\nexit\n");
    let args = |packet| ["run", file.path(), "--type", "xdp", "--unverified", "--json", "--packet", packet];
    let value = beelift(&args(ARP)).status(0).json();
    assert_eq!(value["engine"], "interpreter");
    let outcome = beelift(&args(&ARP[..28])).status(4);
    let trap = outcome.json()["runs"][0]["trap"].clone();
    assert_eq!((&trap["kind"], &trap["at"]), (&"access".into(), &1.into()), "{trap}");
    assert_eq!((&trap["source"]["line"], &trap["access"]["len"]), (&2.into(), &1.into()), "{trap}");
    assert_eq!(trap["access"]["place"], "packet+14, where there are 14 bytes");
    assert_eq!(
        (&trap["backtrace"][0]["at"], &trap["backtrace"][0]["subprogram"]),
        (&1.into(), &"assembly".into())
    );
    beelift(&[&args(ARP)[..], &["--engine", "jit"]].concat()).status(2).says_json("only the interpreter");
    // Nothing says that it ends: fuel is always limited.
    let endless = ["run", "hex:0500ffff00000000", "--type", "xdp", "--unverified", "--packet", ARP];
    beelift(&endless).status(4).says("out of fuel");
    // Rules beside memory safety.
    let file = Scratch::new("unwritten.s", "r0 = r4\nexit\n");
    let outcome = beelift(&["run", file.path(), "--type", "xdp", "--unverified", "--packet", ARP]).status(4);
    outcome.says("before anything was written").says("unwritten.s:1");
}

#[test]
fn rejected_programs_do_not_run() {
    let file = Scratch::new("run-reject.s", "r0 = *(u32 *)(r1 +76)\nexit\n");
    let args = ["run", file.path(), "--type", "xdp", "--packet", ARP];
    for engine in ["auto", "jit", "interpreter", "all"] {
        beelift(&[&args[..], &["--engine", engine]].concat()).status(3).says("run-reject.s:1");
    }
    if require::kernel("run --engine kernel of a rejected program") {
        beelift(&[&args[..], &["--engine", "kernel"]].concat()).status(3).says("invalid bpf_context access");
    }
}

#[test]
fn what_user_space_lacks_is_named_or_runs_in_the_kernel() {
    // A map type that only the kernel has.
    let source = ".map sockets sockmap key=4 value=4 entries=4\nr1 = map[sockets] ll\nr0 = 2\nexit\n";
    let file = Scratch::new("lacking.s", source);
    let args = ["run", file.path(), "--type", "xdp", "--packet", ARP];
    beelift(&[&args[..], &["--engine", "jit"]].concat()).status(5).says("sockmap");
    // Fields of the kernel's own structures.
    let source =
        ".map table array key=4 value=4 entries=4\nr1 = map[table] ll\nr0 = *(u32 *)(r1 +0)\nr0 = 2\nexit\n";
    let reads = Scratch::new("reads.s", source);
    if require::kernel("the layout of the kernel's structures") {
        for engine in ["interpreter", "jit"] {
            let args = ["run", reads.path(), "--type", "xdp", "--packet", ARP, "--engine", engine];
            beelift(&args).status(5).says("a kernel object");
        }
    }
    // And a program type without contexts here.
    let args_of_type = ["run", PASS, "--packet", ARP, "--engine", "jit", "--type"];
    beelift(&[&args_of_type[..], &["sk_msg"]].concat()).status(5).says("contexts of type sk_msg");
    if require::kernel("falling back to the kernel") {
        let outcome = beelift(&[&args[..], &["--json"]].concat()).status(0);
        let value = outcome.json();
        assert_eq!((&value["engine"], &runs(&value)[0]["return"]), (&"kernel".into(), &2.into()));
        assert!(value["fallback"].as_str().is_some_and(|why| why.contains("sockmap")), "{value}");
    }
}

#[test]
fn maps_larger_than_memory_are_an_error() {
    let source = ".map huge hash key=4 value=1048576 entries=4000000\nr1 = map[huge] ll\nr0 = 2\nexit\n";
    let file = Scratch::new("huge.s", source);
    let outcome = beelift(&["run", file.path(), "--type", "xdp", "--packet", ARP, "--engine", "jit"]);
    assert!(matches!(outcome.status, 1 | 5), "{}: {}", outcome.status, outcome.stderr);
    outcome.says("huge");
}

#[test]
fn results_are_the_same_bytes_as_the_files() {
    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(TRAFFIC).exists());
    let value = beelift(&["run", PASS, "--type", "xdp", "--pcap", TRAFFIC, "--json"]).status(0).json();
    let capture = example("traffic.pcap");
    let mut at = 24;
    for run in runs(&value) {
        let len = u32::from_le_bytes(capture[at + 8..at + 12].try_into().expect("four bytes")) as usize;
        let frame: String =
            capture[at + 16..at + 16 + len].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(run["packet"], frame.as_str());
        at += 16 + len;
    }
    assert_eq!(at, capture.len());
}

#[test]
fn times_survive_a_round_trip_through_pcapng() {
    let folder = std::env::temp_dir().join(format!("beelift-pcapng-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    let (there, back) = (folder.join("all.pcapng"), folder.join("all.pcap"));
    let object = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/flowmon.bpf.o");
    let traffic = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/traffic.pcap");
    for (from, to) in [(std::path::Path::new(traffic), &there), (&there, &back)] {
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_beelift"))
            .args(["run", object, "--engine", "jit", "--pcap"])
            .arg(from)
            .arg("--write-all")
            .arg(to)
            .output()
            .expect("the tool runs")
            .status;
        assert!(status.success());
    }
    let read = |path| std::fs::read(path).expect("a capture");
    // Everything behind the file header: times, lengths and bytes.
    assert!(read(std::path::Path::new(traffic))[24..] == read(&back)[24..], "the captures differ");
    std::fs::remove_dir_all(&folder).expect("our own folder");
}
