//! Creating a map succeeds or fails as the kernel decided for the same definition (`map_creation.tsv`).
#![forbid(unsafe_code)]

use beelift_runtime::map::{MapDef, MapFlags, MapKind, create};

#[test]
fn definitions_are_accepted_and_refused_as_by_the_kernel() {
    let mut wrong = Vec::new();
    let mut rows = 0;
    for line in include_str!("map_creation.tsv").lines().filter(|line| !line.starts_with(['#', 'm'])) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [kind, key, value, entries, flags, extra, expected] = fields[..] else { panic!("{line}") };
        let kind = MapKind::ALL.iter().find(|candidate| candidate.name() == kind).expect("a kind of map");
        let number = |text: &str| text.parse::<u32>().unwrap();
        let mut def = MapDef::new("m", *kind, number(key), number(value), number(entries));
        let flags = u32::from_str_radix(flags.strip_prefix("0x").unwrap(), 16).unwrap();
        def.flags = MapFlags::from_bits_retain(flags);
        def.extra = extra.parse().unwrap();
        if matches!(kind, MapKind::ArrayOfMaps | MapKind::HashOfMaps) {
            def.inner = Some(Box::new(MapDef::new("inner", MapKind::Array, 4, 8, 1)));
        }
        rows += 1;
        let got = match create(&def, 2) {
            Ok(_) => "0".to_owned(),
            Err(error) => match error.errno() {
                7 => "E2BIG".to_owned(),
                22 => "EINVAL".to_owned(),
                other => other.to_string(),
            },
        };
        if got != expected {
            wrong.push(format!("{line}: {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 1000, "the table has shrunk to {rows} rows");
}
