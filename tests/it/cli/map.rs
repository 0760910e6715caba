//! `map`: maps of the kernel by pin, id and name, and maps of an earlier run.

use std::path::Path;

use serde_json::Value;

use super::{FIREWALL, Scratch, beelift};
use crate::require;

const TRAFFIC: &str = "examples/traffic.pcap";

/// A directory of pins that goes away with the test.
struct Pins(String);

impl Pins {
    fn of(name: &str, object: &[&str]) -> Self {
        let directory = format!("/sys/fs/bpf/beelift-map-{name}-{}", std::process::id());
        beelift(&[&["load"], object, &["--pin", &directory]].concat()).status(0);
        Self(directory)
    }
    fn map(&self, name: &str) -> String {
        format!("{}/maps/{name}", self.0)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(Path::new(&self.0));
    }
}

#[test]
fn pinned_maps_are_shown_and_changed_by_type() {
    if !require::kernel("map of pinned maps") {
        return;
    }
    let pins = Pins::of("typed", &[FIREWALL]);
    let services = pins.map("services");
    let map = |args: &[&str]| beelift(&[&["map"], args].concat());
    map(&["list", &pins.0]).status(0).prints("services").prints("blocked_v4").prints("lpm_trie");
    let listed = map(&["list", &pins.0, "--json"]).status(0).json();
    let row = listed["maps"].as_array().expect("maps").iter().find(|map| map["name"] == "services");
    let id = row.expect("services")["id"].as_u64().expect("an id");
    let key = r#"{"port": 80, "protocol": 6}"#;
    map(&["get", &services, key]).status(1).says("no such element");
    map(&["set", &services, key, "1", "--only", "present"]).status(1).says("no such element");
    map(&["set", &services, key, "1"]).status(0);
    map(&["set", &services, key, "1", "--only", "absent"]).status(1).says("there already");
    map(&["update", &format!("id:{id}"), "01bb0600", "00000000"]).status(0);
    map(&["lookup", &services, key]).status(0).prints(".port = 80");
    let element = map(&["get", &services, key, "--json"]).status(0).json();
    assert_eq!(
        (&element["found"], &element["element"]["formatted"]["key"]["port"]),
        (&true.into(), &80.into())
    );
    let dumped = map(&["dump", &services, "--json"]).status(0).json();
    assert_eq!(dumped["maps"]["services"]["entries"].as_array().map(Vec::len), Some(2), "{dumped}");
    map(&["dump", &services]).status(0).prints("services (hash): 2 of").prints(".port = 80");
    map(&["delete", &services, key]).status(0);
    map(&["delete", &services, key]).status(1).says("no such element");
    map(&["set", &services, r#"{"prt": 80}"#, "1"]).status(1).says("no member `prt`");
    map(&["set", &services, "0011", "1"]).status(1);
    // One value for every CPU, and one for each.
    let counters = pins.map("counters");
    map(&["set", &counters, "2", r#"{"packets": 3, "bytes": 180}"#]).status(0);
    map(&["get", &counters, "2"]).status(0).prints("cpu 0: { .packets = 3, .bytes = 180 }");
    map(&["get", &counters, "99"]).status(1);
    map(&["push", &counters, "1"]).status(2).says("has keys");
    map(&["get", &pins.0]).status(1).says("a directory").says("map list");
    map(&["get", &format!("{}/firewall", pins.0), "1"]).status(1).says("a program is pinned there");
    map(&["dump", "/sys/fs/bpf/nothing-here"]).status(1).says("ENOENT");
    map(&["dump", "id:x"]).status(2);
    map(&["dump", "name:no_such_map_xyz"]).status(1).says("map list");
    map(&["list", "/"]).status(1).says("/sys/fs/bpf");
}

#[test]
fn queues_are_pushed_and_popped() {
    if !require::kernel("map of a queue") {
        return;
    }
    let source = ".map line queue key=0 value=8 entries=4\nr1 = map[line] ll\nr0 = 2\nexit\n";
    let file = Scratch::new("queue.s", source);
    let pins = Pins::of("queue", &[file.path(), "--type", "xdp"]);
    let line = pins.map("line");
    let map = |args: &[&str]| beelift(&[&["map"], args].concat());
    map(&["pop", &line]).status(1).says("no such element");
    map(&["push", &line, "7"]).status(0);
    map(&["push", &line, "hex:0800000000000000"]).status(0);
    map(&["get", &line]).status(0).prints("0700000000000000");
    map(&["pop", &line]).status(0).prints("0700000000000000");
    let next = map(&["pop", &line, "--json"]).status(0).json();
    assert_eq!(next["element"]["value"], "0800000000000000");
    map(&["get", &line, "1"]).status(2).says("no keys");
    map(&["dump", &line]).status(0).prints("pop");
}

#[test]
fn changes_are_watched() {
    if !require::kernel("map watch") {
        return;
    }
    let pins = Pins::of("watch", &[FIREWALL]);
    let services = pins.map("services");
    let watched = services.clone();
    let watcher = std::thread::spawn(move || {
        beelift(&["map", "watch", &watched, "--interval", "20", "--count", "2"]).status(0)
    });
    let key = r#"{"port": 443, "protocol": 6}"#;
    // The watcher may still be starting: what it never saw it cannot miss.
    while !watcher.is_finished() {
        beelift(&["map", "set", &services, key, "1"]).status(0);
        std::thread::sleep(std::time::Duration::from_millis(100));
        beelift(&["map", "delete", &services, key]).status(0);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    watcher.join().expect("it ends").prints(".port = 443");
}

#[test]
fn maps_of_an_earlier_run_are_files() {
    let run =
        |args: &[&str]| beelift(&[&["run", FIREWALL, "--pcap", TRAFFIC, "--maps", "--json"], args].concat());
    let first = run(&[r#"--map=services={"key": {"port": 80, "protocol": 6}, "value": 1}"#]).status(0);
    let saved = Scratch::new("maps.json", &first.stdout);
    let services = format!("{}:services", saved.path());
    let map = |args: &[&str]| beelift(&[&["map"], args].concat());
    map(&["list", saved.path()]).status(0).prints("services").prints("counters");
    map(&["dump", &services]).status(0).prints("services (hash): 1").prints(r#""port":80"#);
    map(&["get", &services, r#"{"port": 80, "protocol": 6}"#]).status(1).says("no such element");
    let whole = map(&["dump", &services, "--json"]).status(0).json();
    let key = whole["maps"]["services"]["entries"][0]["key"].as_str().expect("digits").to_owned();
    map(&["get", &services, &key]).status(0).prints(r#""port":80"#);
    map(&["set", &services, "01bb0600", "00000000"]).status(0);
    map(&["set", &services, "many", "00000000"]).status(5).says("hexadecimal digits");
    map(&["delete", &services, &key]).status(0);
    map(&["delete", &services, &key]).status(1);
    let second = run(&["--restore", saved.path()]).status(0).json();
    let entries = second["maps"]["services"]["entries"].as_array().expect("entries").clone();
    assert_eq!(entries.iter().map(|entry| &entry["key"]).collect::<Vec<&Value>>(), ["01bb0600"]);
    map(&["get", &format!("{}:nothing", saved.path()), "00"]).status(1).says("services");
    map(&["dump", saved.path()]).status(1).says("which map?");
    map(&["pop", &services]).status(5);
    let other = Scratch::new("no-maps.json", "{}");
    map(&["list", other.path()]).status(1).says("--json --maps");
}
