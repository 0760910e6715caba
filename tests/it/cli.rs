//! The command-line tool as a user types it: exit status, JSON, messages for bad input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::require;

mod map;
mod run;

/// What a command did.
struct Outcome {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Outcome {
    #[track_caller]
    fn status(self, expected: i32) -> Self {
        assert_eq!(self.status, expected, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
    #[track_caller]
    fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "no {text:?} in: {}", self.stderr);
        self
    }
    #[track_caller]
    fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "no {text:?} in: {}", self.stdout);
        self
    }
    /// The error of JSON names it, somewhere.
    #[track_caller]
    fn says_json(self, text: &str) -> Self {
        let error = self.json()["error"].to_string();
        assert!(error.contains(text), "no {text:?} in: {error}");
        self
    }
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in: {}", self.stdout))
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beelift"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    command
}

#[track_caller]
fn beelift(args: &[&str]) -> Outcome {
    let Output { status, stdout, stderr } = command(args).output().expect("the tool was built");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(!stderr.contains("panicked at"), "{stderr}");
    let status = status.code().unwrap_or_else(|| panic!("{args:?} was killed: {status}"));
    Outcome { status, stdout: stdout.into_owned(), stderr: stderr.into_owned() }
}

/// A file that goes away with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: impl AsRef<[u8]>) -> Self {
        let path = std::env::temp_dir().join(format!("beelift-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).expect("the temporary directory can be written");
        Self(path)
    }
    fn path(&self) -> &str {
        self.0.to_str().expect("a path of ours is text")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn example(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).expect("checked in")
}

const FIREWALL: &str = "examples/firewall.bpf.o";
const GLOBALS: &str = "tests/cases/elf/globals.bpf.o";

#[test]
fn verify_accepts_the_examples() {
    for name in ["balancer", "firewall", "flowmon", "ratelimit"] {
        let object = format!("examples/{name}.bpf.o");
        let verdict = beelift(&["verify", &object, "--json"]).status(0).json();
        assert_eq!(verdict["schema"], 1);
        let program = &verdict["programs"][0];
        assert_eq!((&program["program"], &program["verdict"]), (&name.into(), &"accepted".into()));
        assert_eq!((&program["type"], &program["reason"]), (&"xdp".into(), &Value::Null));
        for count in ["insns", "processed", "states", "micros"] {
            assert!(program["stats"][count].is_u64(), "{count}: {program}");
        }
    }
}

#[test]
fn a_rejection_shows_line_instruction_and_reason() {
    let file = Scratch::new("reject.s", "r2 = 0\nr0 = *(u32 *)(r1 +76)\nexit\n");
    let args = ["verify", file.path(), "--type", "xdp"];
    beelift(&args)
        .status(3)
        .says("reject.s:2")
        .says("instruction 1 of `assembly`: r0 = *(u32 *)(r1 +76)")
        .prints("rejected");
    let verdict = beelift(&[&args[..], &["--json"]].concat()).status(3).json();
    let reason = &verdict["programs"][0]["reason"];
    assert_eq!(reason["insn"]["pc"], 1);
    assert_eq!(reason["source"]["line"], 2);
    assert_eq!(reason["source"]["text"], "r0 = *(u32 *)(r1 +76)");
    assert!(reason["code"].is_string() && reason["message"].is_string() && reason["registers"].is_object());
}

#[test]
fn verify_compares_with_the_kernel() {
    if !require::kernel("verify --kernel") {
        return;
    }
    // The kernel wants a flag of `syscall` programs that bytes and assembly cannot state.
    beelift(&["verify", "hex:b7000000000000009500000000000000", "--type", "syscall", "--kernel"]).status(0);
    let verdict = beelift(&["verify", FIREWALL, "--kernel", "--json"]).status(0).json();
    assert_eq!(verdict["programs"][0]["kernel"]["verdict"], "accepted");
    assert_eq!(verdict["programs"][0]["agree"], true);
    let file = Scratch::new("both.s", "r0 = *(u32 *)(r1 +76)\nexit\n");
    let verdict = beelift(&["verify", file.path(), "--type", "xdp", "--kernel", "--json"]).status(3).json();
    let kernel = &verdict["programs"][0]["kernel"];
    assert_eq!(kernel["verdict"], "rejected");
    assert!(kernel["log"].as_str().is_some_and(|log| log.contains("invalid bpf_context access")), "{kernel}");
    beelift(&["verify", FIREWALL, "--kernel", "--log"]).status(0).says("R1=ctx()");
}

#[test]
fn a_log_shows_paths_instructions_and_what_they_change() {
    let source = ".map values hash key=4 value=16 entries=4\nr6 = r1\n*(u32 *)(r10 -4) = 7\nr2 = r10\nr2 += -4\n\
                  r1 = map[values] ll\ncall bpf_map_lookup_elem\nif r0 == 0 goto out\nr1 = *(u8 *)(r0 +3)\n\
                  r2 = *(u32 *)(r6 +0)\nr0 = *(u8 *)(r2 +14)\nout: exit\n";
    let file = Scratch::new("log.s", source);
    let args = ["verify", file.path(), "--type", "xdp", "--log"];
    beelift(&args)
        .status(3)
        .says("path 0 at 0: r1=context r10=fp")
        .says("fp-8=[----mmmm]")
        .says("r2=fp-4")
        .says("r1=map(values)")
        .says("r0=value(values)?#1")
        .says("taken, the other way waits")
        .says("r1=0..255")
        .says("r2=packet")
        .says(": 1-byte access at offset 14 of r2");
    let value = beelift(&[&args[..], &["--json"]].concat()).status(3).json();
    let log = &value["programs"][0]["log"];
    let events = log["events"].as_array().expect("events");
    assert_eq!((&events[0]["event"], &events[1]["event"]), (&"function".into(), &"path".into()));
    assert_eq!((&events[2]["pc"], &events[2]["state"]), (&0.into(), &"r6=context".into()));
    assert_eq!(events.last().expect("an end")["why"], "rejected");
    assert_eq!(log["left_out"], 0);
    // A limit leaves the middle out, not how it ends.
    beelift(&[&args[..], &["--log-limit", "4"]].concat())
        .status(3)
        .says("more steps: --log-limit 0")
        .says("path 0 ends at")
        .says("of r2");
    assert_eq!(beelift(&["verify", FIREWALL, "--log-limit", "4"]).status, 2);
    let whole = beelift(&["verify", FIREWALL, "--log", "--log-limit", "0"]).status(0);
    assert!(whole.stderr.contains("a state seen there before covers it") && whole.stderr.contains(": exit"));
    if require::kernel("verify --log --kernel") {
        beelift(&["verify", FIREWALL, "--kernel", "--log"]).status(0).says("r1=context").says("R1=ctx()");
    }
}

#[test]
fn programs_are_chosen_by_name_and_section() {
    beelift(&["verify", FIREWALL, "-p", "firewall"]).status(0);
    beelift(&["verify", FIREWALL, "-s", "xdp"]).status(0);
    beelift(&["verify", FIREWALL, "-p", "nobody"])
        .status(1)
        .says("no program `nobody`")
        .says("firewall (xdp)");
    beelift(&["verify", FIREWALL, "-s", "tc"]).status(1).says("no program in section `tc`");
}

#[test]
fn raw_instructions_need_a_type() {
    let two = "hex:b7000000020000009500000000000000";
    beelift(&["verify", two]).status(2).says("--type");
    beelift(&["verify", two, "--type", "xdp"]).status(0).prints("accepted");
    beelift(&["verify", two, "--type", "plane"]).status(2).says("no program type `plane`");
    beelift(&["verify", "hex:b70000000200000", "--type", "xdp"]).status(1).says("half");
    beelift(&["verify", "hex:b7zz", "--type", "xdp"]).status(1).says("`z` at 2");
    beelift(&["verify", "hex:b70000000200", "--type", "xdp"]).status(1).says("6 bytes");
    beelift(&["verify", "hex:ff00000000000000", "--type", "xdp"]).status(3).says("unknown opcode 0xff");
    let value = beelift(&["verify", "hex:ff00000000000000", "--type", "xdp", "--json"]).status(3).json();
    assert_eq!(value["programs"][0]["verdict"], "rejected");
    assert_eq!(value["programs"][0]["reason"]["insn"]["pc"], 0);
    let file = Scratch::new("raw.bin", [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0]);
    beelift(&["verify", file.path(), "--type", "tc"]).status(0).prints("sched_cls");
}

#[test]
fn mistakes_in_assembly_have_a_line() {
    let file = Scratch::new("mistake.s", "r0 = 0\nr0 <- 1\nexit\n");
    beelift(&["verify", file.path(), "--type", "xdp"]).status(1).says("mistake.s").says("line 2");
    let file = Scratch::new("map.s", "r1 = map[counts] ll\nexit\n");
    beelift(&["verify", file.path(), "--type", "xdp"]).status(1).says("counts").says(".map");
}

#[test]
fn globals_are_set_by_type() {
    let set = |value: &str| beelift(&["verify", FIREWALL, "--set", value]);
    set("trap_port=2323").status(0);
    set("trap_port=0x16").status(0);
    set("trap_port=hex:1700").status(0);
    set("trap_port=65536").status(1).says("65536 does not fit").says("0 to 65535");
    set("trap_port=-1").status(1).says("does not fit");
    set("trap_port=hex:170000").status(1).says("3 bytes");
    set("trap_port=many").status(1).says("`many` is no value of");
    set("nothing=1").status(1).says("no global variable `nothing`").says("trap_port");
    set("trap_port").status(2).says("NAME=VALUE");
    let compound = |value: &str| beelift(&["inspect", GLOBALS, "--json", "--set", value]);
    let shown = |value: &str, name: &str| {
        let value = compound(value).status(0).json();
        let globals = value["globals"].as_array().expect("globals").clone();
        globals.into_iter().find(|global| global["name"] == name).expect("the global")["value"].clone()
    };
    let config = shown(r#"config={"limit": 12, "name": [1, 2], "label": "eth0"}"#, "config");
    assert_eq!(config, "{ .limit = 12, .name = [1, 2, 0, 0, 0, 0], .label = \"eth0\" }");
    assert_eq!(shown("ports=[22, 53]", "ports"), "[22, 53, 0]");
    compound(r#"config={"limt": 12}"#)
        .status(1)
        .says_json("no member `limt`")
        .says_json("limit, name, label");
    compound("ports=[22, 65536]").status(1).says_json("[1]: 65536 does not fit");
    compound("config=7").status(1).says_json("an object like");
    compound("config=hex:00").status(1).says_json("1 bytes");
    let value = beelift(&["inspect", FIREWALL, "--set", "trap_port=2323", "--json"]).status(0).json();
    let globals = value["globals"].as_array().expect("globals");
    let port = globals.iter().find(|global| global["name"] == "trap_port").expect("the global");
    assert_eq!(port["value"], "2323");
}

#[test]
fn unreadable_objects_say_what_is_wrong_and_where() {
    beelift(&["verify", "/no/such/file.o"]).status(1).says("/no/such/file.o: No such file");
    beelift(&["verify", "examples"]).status(1).says("examples: it is a directory").says("clang --target=bpf");
    beelift(&["verify", "/dev/zero"]).status(1).says("longer than");
    let whole = example("firewall.bpf.o");
    let cut = Scratch::new("cut.o", &whole[..whole.len() / 2]);
    beelift(&["verify", cut.path()]).status(1).says("cut.o: not a readable ELF file");
    let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let noise = Scratch::new("noise.o", noise);
    beelift(&["verify", noise.path()]).status(1).says("not a readable ELF file").says("clang --target=bpf");
    let empty = Scratch::new("empty.o", []);
    beelift(&["verify", empty.path()])
        .status(1)
        .says("empty.o: the file is empty")
        .says("clang --target=bpf");
    let mut big = whole.clone();
    big[5] = 2;
    let big = Scratch::new("big.o", big);
    beelift(&["verify", big.path()]).status(1).says("big-endian");
    let mut other = whole;
    other[18] = 62;
    let other = Scratch::new("other.o", other);
    beelift(&["verify", other.path()]).status(1).says("ELF machine 62").says("clang --target=bpf");
}

#[test]
fn errors_are_json_when_asked() {
    let error = beelift(&["verify", "/no/such/file.o", "--json"]).status(1).json();
    assert_eq!(error["schema"], 1);
    assert_eq!(error["error"]["code"], "failure");
    assert_eq!(error["error"]["span"], "/no/such/file.o");
    assert!(error["error"]["message"].is_string());
    assert_eq!(beelift(&["verify"]).status, 2);
    let usage = beelift(&["verify", FIREWALL, "--json", "--fly"]).status(2).json();
    assert_eq!(usage["error"]["code"], "usage");
    assert_eq!(beelift(&["fly"]).status, 2);
    beelift(&["--version"]).status(0).prints("beelift");
}

#[test]
fn types_to_relocate_against_are_read_or_refused() {
    let noise = Scratch::new("noise.btf", [1, 2, 3]);
    beelift(&["verify", FIREWALL, "--btf", noise.path()]).status(1).says("noise.btf");
    beelift(&["verify", FIREWALL, "--btf", "/no/such.btf"]).status(1).says("/no/such.btf: No such file");
}

#[test]
fn inspect_lists_what_an_object_holds() {
    beelift(&["inspect", FIREWALL])
        .status(0)
        .prints("Program firewall")
        .prints("bpf_map_lookup_elem")
        .prints("lpm_trie")
        .prints("trap_port")
        .prints("user space    yes");
    let value = beelift(&["inspect", FIREWALL, "--json"]).status(0).json();
    let program = &value["programs"][0];
    assert_eq!(program["user"]["runs"], true);
    assert_eq!(program["section"], "xdp");
    assert_eq!(program["capabilities"], serde_json::json!(["CAP_BPF", "CAP_NET_ADMIN"]));
    let maps = value["maps"].as_array().expect("maps");
    assert!(maps.iter().any(|map| map["name"] == "blocked_v4" && map["key_type"] == "struct network_v4"));
}

#[test]
fn dump_shows_every_stage() {
    for (stage, text) in [
        ("bytecode", "call bpf_map_lookup_elem#1"),
        ("facts", "packet, aligned"),
        ("ir", "function firewall"),
        ("clif", "block0"),
        ("native", "bpf_map_lookup_elem"),
    ] {
        let plain = beelift(&["dump", FIREWALL, "--stage", stage]).status(0).prints(text);
        let source = beelift(&["dump", FIREWALL, "--stage", stage, "--source"]).status(0);
        let line = "firewall.bpf.c:";
        assert!(source.stdout.contains(line), "{stage} with source lines");
        assert!(!plain.stdout.contains(line), "{stage} without source lines");
        let json = beelift(&["dump", FIREWALL, "--stage", stage, "--json"]).status(0).json();
        assert_eq!(json["stage"], stage);
        assert!(json["programs"][0]["lines"].as_array().is_some_and(|lines| lines.len() > 100));
    }
}

#[test]
fn facts_are_data() {
    use beelift::verify::{Facts, Options, verify};
    let json = beelift(&["dump", FIREWALL, "--stage", "facts", "--json"]).status(0).json();
    let read: Facts = serde_json::from_value(json["programs"][0]["facts"].clone()).expect("facts");
    let object = beelift::Object::parse(&std::fs::read(FIREWALL).expect("the example")).expect("an object");
    let program = beelift::link::link(&object, "firewall", &Default::default()).expect("a program");
    assert!(read == *verify(program, &Options::default()).expect("accepted").facts());
    let wrong = serde_json::from_str::<beelift::isa::Reg>("11").expect_err("ten is the last");
    assert!(wrong.to_string().contains("no register r11"), "{wrong}");
}

#[test]
fn dump_of_a_rejected_program_is_its_rejection() {
    let file = Scratch::new("dump.s", "exit\n");
    beelift(&["dump", file.path(), "--type", "xdp"]).status(0).prints("exit");
    beelift(&["dump", file.path(), "--type", "xdp", "--stage", "native"]).status(3).says("r0");
}

#[test]
fn features_compare_kernel_and_runtime() {
    let value = beelift(&["features", "--json"]).status(0).json();
    let find = |list: &str, key: &str, name: &str| {
        let rows = value[list].as_array().expect("a list");
        rows.iter().find(|row| row[key] == name).unwrap_or_else(|| panic!("{name}")).clone()
    };
    assert_eq!(find("program_types", "type", "xdp")["user"], true);
    assert_eq!(find("program_types", "type", "lsm")["user"], false);
    assert_eq!(find("map_types", "type", "hash")["user"], true);
    assert_eq!(find("helpers", "name", "bpf_map_lookup_elem")["user"], true);
    // The documents are made from the same tables.
    let document = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/helpers.md"));
    let document = document.expect("checked in");
    let (helpers, rest) = document.split_once("\n## ").expect("sections");
    let (maps, programs) = rest.split_once("## Program types").expect("program types");
    let lists =
        [("helpers", "name", helpers), ("map_types", "type", maps), ("program_types", "type", programs)];
    for (list, key, text) in lists {
        for row in value[list].as_array().expect("a list") {
            let name = row[key].as_str().expect("a name");
            let line = text.lines().find(|line| line.contains(&format!("| `{name}` |")));
            let line = line.unwrap_or_else(|| panic!("{name} is not in docs/helpers.md"));
            assert_eq!(row["user"], line.contains("| yes |"), "{list}: {name}");
        }
    }
    beelift(&["features"]).status(0).prints("Program types").prints("Map types").prints("Helpers");
}

#[test]
fn load_needs_permission_or_loads() {
    beelift(&["load", FIREWALL, "--attach", "moon:1"]).status(2).says("`moon:1` is no attach point");
    if !require::kernel("load") {
        let refused = beelift(&["load", FIREWALL]).status(5);
        // Under an emulator the system call is missing altogether.
        assert!(
            ["CAP_BPF", "no bpf(2)"].iter().any(|why| refused.stderr.contains(why)),
            "{}",
            refused.stderr
        );
        return;
    }
    beelift(&["load", FIREWALL]).status(0).prints("firewall (xdp): loaded").says("--pin or --attach");
    let refused = Scratch::new("load.s", "r0 = *(u32 *)(r1 +76)\nexit\n");
    beelift(&["load", refused.path(), "--type", "xdp"])
        .status(3)
        .says("load.s:1")
        .says("invalid bpf_context access");
    beelift(&["load", "hex:b7000000020000009500000000000000", "--type", "memory"])
        .status(5)
        .says("user space only");
    beelift(&["load", FIREWALL, "--attach", "xdp:nosuchif0"]).status(1).says("nosuchif0").says("ip link");
    let pins = std::env::temp_dir().join("beelift-no-bpffs");
    beelift(&["load", FIREWALL, "--pin", pins.to_str().expect("text")])
        .status(1)
        .says("not in a BPF file system");
}

#[test]
fn pins_are_all_or_nothing() {
    if !require::kernel("load --pin") {
        return;
    }
    let directory = format!("/sys/fs/bpf/beelift-test-{}", std::process::id());
    let pin = |object: &str| beelift(&["load", object, "--pin", &directory]);
    pin(FIREWALL).status(0).prints("/firewall").prints("/maps/blocked_v4").prints("/maps/_rodata");
    assert!(Path::new(&directory).join("firewall").exists());
    // The same again: the first pin is in the way, and nothing is left behind.
    pin(FIREWALL).status(1).says("something is there already");
    let removed = std::fs::remove_file(Path::new(&directory).join("firewall"));
    removed.expect("the program's pin");
    pin(FIREWALL).status(0);
    std::fs::remove_dir_all(&directory).expect("the pins");
}

#[test]
fn without_permission_the_message_names_the_capability() {
    if !require::kernel("load without capabilities") {
        return;
    }
    // `setpriv` takes all capabilities away; where it is missing, or nothing can be taken, there is nothing to test.
    let tool = env!("CARGO_BIN_EXE_beelift");
    let args =
        ["--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups", tool, "load", FIREWALL];
    let output = Command::new("setpriv").args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Ok(output) = output else {
        require::skip("load without capabilities: no setpriv");
        return;
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("setpriv:") {
        require::skip(&format!("load without capabilities: {stderr}"));
        return;
    }
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert!(stderr.contains("CAP_BPF"), "{stderr}");
}

#[test]
fn a_closed_pipe_is_quiet() {
    let mut child = command(&["dump", FIREWALL, "--stage", "native"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool was built");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn reports_have_no_colours_off_a_terminal() {
    let file = Scratch::new("color.s", "r0 = *(u32 *)(r1 +76)\nexit\n");
    let outcome = beelift(&["verify", file.path(), "--type", "xdp"]).status(3);
    assert!(!outcome.stderr.contains('\u{1b}') && !outcome.stdout.contains('\u{1b}'));
}

#[test]
fn bench_times_engines_that_agree() {
    let object = "examples/firewall.bpf.o";
    let args = ["bench", object, "--rounds", "2", "--sample-ms", "1"];
    beelift(&args).status(0).prints("program firewall (xdp)").prints("load in µs").says("a debug build");
    let svg = std::env::temp_dir().join(format!("beelift-bench-{}.svg", std::process::id()));
    let plot = svg.to_str().expect("a plain path");
    let json =
        beelift(&["--json", "bench", object, "--rounds", "1", "--sample-ms", "1", "--plot", plot]).json();
    let program = &json["programs"][0];
    assert!(
        program["engines"]["jit"]["ns_per_run"]["median"].as_f64().is_some_and(|time| time > 0.0),
        "{json}"
    );
    assert!(program["engines"]["interpreter"]["ns_per_run"]["median"].is_number(), "{json}");
    assert!(program["load_us"]["verify"]["later"].is_number(), "{json}");
    let drawn = std::fs::read_to_string(&svg).expect("the plot was written");
    assert!(drawn.starts_with("<svg") && drawn.contains("interpreter"), "{drawn}");
    std::fs::remove_file(svg).expect("it was there");
    beelift(&["bench", object, "--rounds", "0"]).status(2);
}
