//! Maps that processes share: one creates, another one updates, both see; and files that are no maps.
#![forbid(unsafe_code)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use beelift_runtime::map::{Map, MapDef, MapFlags, MapKind};
use beelift_runtime::object::{SharedError, pin, share};

/// Where the other process finds the map.
const PATH: &str = "BEELIFT_TEST_PIN";

fn def() -> MapDef {
    MapDef::new("shared", MapKind::Array, 4, 12, 1000)
}

/// A path of its own in a directory that goes away.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("beelift-pins-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        Self(directory)
    }
    fn path(&self) -> PathBuf {
        self.0.join("map")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn value(map: &Arc<dyn Map>, index: u32) -> Vec<u8> {
    map.lookup_bytes(&index.to_ne_bytes()).expect("an index")
}

fn set(map: &Arc<dyn Map>, index: u32, byte: u8) {
    map.update_bytes(&index.to_ne_bytes(), &[byte; 12], 0).expect("an index");
}

/// What the other process does: only when it is asked to.
#[test]
fn other_process() {
    let Some(path) = std::env::var_os(PATH) else { return };
    let map = pin::open(&def(), 1, Path::new(&path)).expect("the map");
    assert_eq!(value(&map, 999), [7; 12]);
    set(&map, 0, 9);
}

#[test]
fn processes_see_each_others_updates() {
    let place = Place::new("two");
    let map = pin::create(&def(), 1, &place.path()).unwrap();
    set(&map, 999, 7);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["other_process", "--exact"])
        .env(PATH, place.path())
        .status()
        .expect("this binary again");
    assert!(status.success());
    assert_eq!(value(&map, 0), [9; 12]);
    drop(map);
    // The file outlives all of them.
    let again = pin::open_any(1, &place.path()).unwrap();
    assert_eq!((value(&again, 0), value(&again, 999)), (vec![9; 12], vec![7; 12]));
    assert_eq!((again.def().value_size, again.def().max_entries), (12, 1000));
    // Without its name it stays for those who have it.
    pin::remove(&place.path()).unwrap();
    set(&again, 1, 5);
    assert!(pin::open(&def(), 1, &place.path()).is_err());
    let fresh = pin::open_or_create(&def(), 1, &place.path()).unwrap();
    assert_eq!(value(&fresh, 1), [0; 12]);
    set(&pin::open_or_create(&def(), 1, &place.path()).unwrap(), 1, 3);
    assert_eq!(value(&fresh, 1), [3; 12]);
    assert!(pin::create(&def(), 1, &place.path()).is_err(), "it is there");
    let left: Vec<_> = fs::read_dir(&place.0).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing else is left behind");
}

#[test]
fn initial_contents_are_those_of_the_definition() {
    let place = Place::new("initial");
    let mut def = def();
    def.initial = Some((1..=24).collect::<Vec<u8>>().into());
    for map in [pin::create(&def, 1, &place.path()).unwrap(), share::create(&def, 1).unwrap().0] {
        assert_eq!(value(&map, 0), (1..=12).collect::<Vec<u8>>());
        assert_eq!(value(&map, 1), (13..=24).collect::<Vec<u8>>());
        assert_eq!(value(&map, 2), [0; 12]);
    }
}

#[test]
fn another_map_is_not_taken_for_it() {
    let place = Place::new("differs");
    drop(pin::create(&def(), 1, &place.path()).unwrap());
    let mut others = [def(), def(), def()];
    others[0].value_size = 16;
    others[1].max_entries = 1001;
    others[2].flags = MapFlags::RDONLY_PROG;
    for other in others {
        let error = pin::open(&other, 1, &place.path()).err().expect("differs");
        assert!(matches!(error, SharedError::Differs { .. }), "{error}");
    }
    let hash = MapDef::new("shared", MapKind::Hash, 4, 12, 1000);
    let error = pin::create(&hash, 1, &place.0.join("hash")).err().expect("refused");
    assert!(matches!(error, SharedError::Unsupported { .. }), "{error}");
    assert!(!place.0.join("hash").exists());
}

#[test]
fn files_of_strangers_are_refused() {
    let place = Place::new("hostile");
    let path = place.path();
    drop(pin::create(&def(), 1, &path).unwrap());
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        pin::open(&def(), 1, &path).err().expect("refused").to_string()
    };
    assert!(refused(&[]).contains("too short"));
    assert!(refused(b"hello").contains("too short"));
    assert!(refused(&vec![0; good.len()]).contains("begin"));
    // One byte of the last value is missing.
    assert!(refused(&good[..4096 + 16_000 - 1]).contains("missing"));
    for at in [8, 12, 20, 24, 28, 32, 40, 48] {
        let mut changed = good.clone();
        changed[at] ^= 1;
        refused(&changed);
    }
    fs::write(&path, &good).unwrap();
    assert!(pin::open(&def(), 1, &path).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    let error = pin::open(&def(), 1, &path).err().expect("refused");
    assert!(matches!(error, SharedError::Untrusted(_)), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    // A link, a directory, a pipe.
    let link = place.0.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(pin::open(&def(), 1, &link).is_err());
    assert!(pin::open(&def(), 1, &place.0).is_err());
    assert!(pin::open(&def(), 1, Path::new("/dev/zero")).is_err());
}

#[test]
fn a_descriptor_is_as_good_as_a_path() {
    let (map, descriptor) = share::create(&def(), 1).unwrap();
    let other = share::open(&def(), 1, descriptor.try_clone().unwrap()).unwrap();
    set(&map, 4, 4);
    assert_eq!(value(&other, 4), [4; 12]);
    // Its size cannot change.
    let file = fs::File::from(descriptor);
    assert!(file.set_len(100).is_err());
    assert_eq!(value(&other, 999), [0; 12]);
    // What may change its size is refused, whatever it holds.
    let place = Place::new("descriptor");
    drop(pin::create(&def(), 1, &place.path()).unwrap());
    let file = fs::File::options().read(true).write(true).open(place.path()).unwrap();
    let error = share::open(&def(), 1, file.into()).err().expect("refused");
    assert!(matches!(error, SharedError::Untrusted(_)), "{error}");
}
