//! From bytes to [`Object`]: the order in which the parts are read.
#![forbid(unsafe_code)]

use std::sync::Arc;

use beelift_runtime::MapDef;
use beelift_runtime::ctx::ProgramType;
use beelift_runtime::map::MapKind;
use std::collections::{HashMap, HashSet};

use super::code::{self, CodeSection, Targets};
use super::file::File;
use super::{
    ElfError, Extern, ExternKind, MapEntry, Object, ProgramDef, Warning, data, externs, legacy, maps, section,
};
use crate::btf::{Btf, BtfError, BtfExt, Kind, SectionLayout, SectionRecords};
use crate::isa::MapSlot;

/// More maps than any object has.
const MAX_MAPS: usize = 1 << 16;

/// Most special fields that Linux looks for in a value.
const MOST_FIELDS: usize = 11;

pub(super) fn parse(bytes: &[u8]) -> Result<Object, ElfError> {
    let file = File::read(bytes)?;
    let mut warnings = Vec::new();
    let raw_btf = read_btf(&file)?;
    let externs = raw_btf.as_ref().map(|btf| externs::read(&file, btf)).unwrap_or_default();
    let btf = match &raw_btf {
        Some(btf) => Some(lay_out(&file, btf, &externs)?),
        None => None,
    };
    let btf = btf.as_ref();

    let mut defs: Vec<MapDef> = Vec::new();
    let mut targets = Targets::default();
    let mut entries = Vec::new();
    let mut globals = Vec::new();

    let typed = match btf {
        Some(btf) => maps::read(&file, btf, &mut warnings)?,
        None if file.section(maps::SECTION).is_some() => {
            return Err(ElfError::Section {
                section: maps::SECTION.to_owned(),
                offset: 0,
                what: "the section needs types (.BTF), and there are none".to_owned(),
            });
        }
        None => Vec::new(),
    };
    entries.extend(maps::entries(&file, &typed, slot)?);
    if let Some((number, _)) = file.section(maps::SECTION) {
        for (index, map) in typed.iter().enumerate() {
            targets.maps.insert((number, map.offset), slot(index));
        }
    }
    defs.extend(typed.into_iter().map(|map| map.def));
    let first_legacy = defs.len();
    let untyped = legacy::read(&file, btf, &mut warnings)?;
    entries.extend(legacy::entries(&untyped, |index| slot(first_legacy + index)));
    for map in untyped {
        targets.maps.insert((map.section, map.offset), slot(defs.len()));
        defs.push(map.def);
    }
    let first_data = defs.len();
    let data = data::read(&file, btf)?;
    entries.extend(data::entries(&file, &data, |index| slot(first_data + index), &mut warnings));
    for (index, found) in data.into_iter().enumerate() {
        let map = slot(first_data + index);
        if found.def.kind != MapKind::StructOps {
            targets.data.insert(found.section, map);
            data::globals(&file, &found, map, btf, &mut globals);
        }
        defs.push(found.def);
    }
    for def in &mut defs {
        forget_too_many_fields(def, &mut warnings);
    }
    arena_data(&file, &mut defs, &mut targets)?;
    if let Some(def) = btf.and_then(|btf| externs::config_map(&externs, btf)) {
        targets.kconfig = Some(slot(defs.len()));
        externs::globals(&externs, slot(defs.len()), &mut globals);
        defs.push(def);
    }
    if defs.len() > MAX_MAPS {
        return Err(ElfError::Unsupported { what: "more than 65536 maps" });
    }
    for (index, symbol) in externs.iter().enumerate() {
        targets.externs.insert(symbol.name.clone(), (index, symbol.kind));
    }

    let (mut code, _) = code::read(&file, &targets)?;
    if let Some(btf) = btf {
        attach_ext(&file, btf, &mut code)?;
        entries.extend(tail_call_tags(btf, &defs));
    }
    let programs = programs(&code, btf, &mut warnings);
    Ok(Object {
        programs,
        maps: defs.into(),
        entries,
        globals,
        externs,
        license: license(&file),
        kernel_version: version(&file),
        btf: btf.cloned().map(Arc::new),
        code,
        warnings,
    })
}

/// Maps are numbered in the order in which they are found; their number is capped.
fn slot(index: usize) -> MapSlot {
    MapSlot(u32::try_from(index).unwrap_or(u32::MAX))
}

fn read_btf(file: &File<'_>) -> Result<Option<Btf>, ElfError> {
    match file.section(".BTF") {
        Some((_, section)) if !section.data.is_empty() => {
            Btf::parse(section.data).map(Some).map_err(|error| ElfError::Btf { section: ".BTF", error })
        }
        Some(_) | None => Ok(None),
    }
}

/// The compiler leaves sizes and offsets of data sections to the linker.
fn lay_out(file: &File<'_>, btf: &Btf, externs: &[Extern]) -> Result<Btf, ElfError> {
    let mut layouts: HashMap<String, SectionLayout> = HashMap::new();
    for ty in btf.iter() {
        if !matches!(ty.kind, Kind::Datasec { .. }) {
            continue;
        }
        let Some((number, section)) = file.section(ty.name) else { continue };
        if layouts.contains_key(ty.name) {
            continue;
        }
        let mut layout =
            SectionLayout { size: u32::try_from(section.size).unwrap_or(0), ..Default::default() };
        for symbol in file.symbols_in(number) {
            if let Ok(offset) = u32::try_from(symbol.value)
                && !symbol.name.is_empty()
            {
                layout.offsets.insert(symbol.name.clone(), offset);
            }
        }
        layouts.insert(ty.name.to_owned(), layout);
    }
    let mut config = SectionLayout::default();
    for symbol in externs {
        if let ExternKind::Kconfig { offset, size } = symbol.kind {
            config.size = config.size.max(offset.saturating_add(size));
            config.offsets.insert(symbol.name.clone(), offset);
        }
    }
    if config.size != 0 {
        layouts.insert(externs::KCONFIG.to_owned(), config);
    }
    let hidden: HashSet<String> =
        file.symbols.iter().filter(|symbol| symbol.hidden).map(|symbol| symbol.name.clone()).collect();
    btf.laid_out(&layouts, &hidden).map_err(|error| ElfError::Btf { section: ".BTF", error })
}

/// Where Linux counts too many special fields in a value, it sees none of them.
fn forget_too_many_fields(def: &mut MapDef, warnings: &mut Vec<Warning>) {
    if def.fields.len() > MOST_FIELDS {
        warnings.push(Warning::TooManyFields { map: def.name.clone(), most: MOST_FIELDS });
        def.fields.clear();
    }
    if let Some(inner) = &mut def.inner {
        forget_too_many_fields(inner, warnings);
    }
}

/// Initial contents of an arena: `.addr_space.1`.
fn arena_data(file: &File<'_>, defs: &mut [MapDef], targets: &mut Targets) -> Result<(), ElfError> {
    let Some((number, section)) = file.section(".addr_space.1") else { return Ok(()) };
    let arena = defs.iter().position(|def| def.kind == MapKind::Arena);
    let Some(arena) = arena else {
        return Err(section.error(0, "there is arena data but no arena map"));
    };
    let pages = section.size.div_ceil(4096);
    if pages > u64::from(defs[arena].max_entries) {
        return Err(
            section.error(0, format!("{} bytes do not fit into arena {}", section.size, defs[arena].name))
        );
    }
    defs[arena].initial = (!section.data.is_empty()).then(|| section.data.into());
    targets.data.insert(number, slot(arena));
    Ok(())
}

/// Functions, lines and relocations of `.BTF.ext` go to their code sections.
fn attach_ext(file: &File<'_>, btf: &Btf, code: &mut [CodeSection]) -> Result<(), ElfError> {
    let Some((_, section)) = file.section(".BTF.ext") else { return Ok(()) };
    let wrong = |error| ElfError::Btf { section: ".BTF.ext", error };
    let ext = BtfExt::parse(section.data, btf).map_err(wrong)?;
    let mut by_name: HashMap<String, usize> = HashMap::new();
    for (index, section) in code.iter().enumerate() {
        by_name.entry(section.name.clone()).or_insert(index);
    }
    for SectionRecords { section, records } in ext.funcs {
        let Some(code) = by_name.get(&section).map(|&index| &mut code[index]) else { continue };
        for record in records {
            let Some(function) = code.function_at(record.offset / 8) else { continue };
            let Some(Kind::Func { .. }) = btf.get(record.func).map(|ty| ty.kind) else {
                return Err(wrong(BtfError::Type {
                    id: record.func.0,
                    what: "is named as a function and is none",
                }));
            };
            code.functions[function].btf_func = record.func.0;
        }
    }
    for SectionRecords { section, records } in ext.lines {
        let Some(code) = by_name.get(&section).map(|&index| &mut code[index]) else { continue };
        code.lines.extend(records);
    }
    for SectionRecords { section, records } in ext.relocations {
        let Some(code) = by_name.get(&section).map(|&index| &mut code[index]) else { continue };
        code.core.extend(records);
    }
    for code in code {
        code.lines.sort_by_key(|line| line.offset);
        code.core.sort_by_key(|relocation| relocation.offset);
    }
    Ok(())
}

/// `tail:MAP/INDEX` on a function puts it into a program array.
fn tail_call_tags(btf: &Btf, defs: &[MapDef]) -> Vec<(MapSlot, MapEntry)> {
    let arrays = defs.iter().enumerate().filter(|(_, def)| def.kind == MapKind::ProgArray);
    let arrays: HashMap<&str, usize> = arrays.map(|(index, def)| (def.name.as_str(), index)).collect();
    let mut entries = Vec::new();
    for ty in btf.iter() {
        let Kind::DeclTag { of, component: None } = ty.kind else { continue };
        let func = btf.type_at(of);
        let Kind::Func { .. } = func.kind else { continue };
        let Some((map, index)) = ty.name.strip_prefix("tail:").and_then(|text| text.split_once('/')) else {
            continue;
        };
        if let (Some(&map), Ok(index)) = (arrays.get(map), index.parse()) {
            entries.push((slot(map), MapEntry::Program { index, program: func.name.to_owned() }));
        }
    }
    entries
}

fn programs(code: &[CodeSection], btf: Option<&Btf>, warnings: &mut Vec<Warning>) -> Vec<ProgramDef> {
    let mut programs = Vec::new();
    let common = common_type(code);
    for section in code {
        let matched = section::find(&section.name);
        for function in section.functions.iter().filter(|function| function.program) {
            let by_context = || btf.and_then(|btf| type_of_context(btf, function.btf_func));
            let (prog_type, guessed) = match &matched {
                Some(matched) => (Some(matched.prog_type), matched.guessed),
                None => {
                    let tc = || section::is_tail_call_target(&section.name).then_some(ProgramType::SchedCls);
                    (by_context().or(common).or_else(tc), true)
                }
            };
            match prog_type {
                None => warnings.push(Warning::UnknownSection {
                    program: function.name.clone(),
                    section: section.name.clone(),
                }),
                Some(guess) if guessed => warnings.push(Warning::GuessedType {
                    program: function.name.clone(),
                    section: section.name.clone(),
                    guess: guess.name(),
                }),
                Some(_) => {}
            }
            programs.push(ProgramDef {
                name: function.name.clone(),
                section: section.name.trim_start_matches('?').to_owned(),
                prog_type,
                attach_type: matched.as_ref().map_or(0, |matched| matched.attach_type),
                attach_target: matched.as_ref().and_then(|matched| matched.target.clone()),
                prog_flags: matched.as_ref().map_or(0, |matched| matched.prog_flags),
                autoload: !section.name.starts_with('?'),
                slots: function.end - function.start,
                btf_func: function.btf_func,
                guessed: guessed && prog_type.is_some(),
            });
        }
    }
    programs
}

/// The type of all programs whose sections tell one, if it is the same: what the object was written for.
fn common_type(code: &[CodeSection]) -> Option<ProgramType> {
    let with_programs =
        code.iter().filter(|section| section.functions.iter().any(|function| function.program));
    let mut types =
        with_programs.filter_map(|section| section::find(&section.name)).map(|found| found.prog_type);
    let first = types.next()?;
    types.all(|other| other == first).then_some(first)
}

/// The program type that takes such a context, where only one common type does.
fn type_of_context(btf: &Btf, func: u32) -> Option<ProgramType> {
    let Kind::Func { proto, .. } = btf.get(crate::btf::TypeId(func))?.kind else { return None };
    let Kind::FuncProto { params, .. } = btf.type_at(proto).kind else { return None };
    let Kind::Ptr(to) = btf.type_at(btf.resolve(params.get(0)?.of)).kind else { return None };
    Some(match btf.type_at(btf.resolve(to)).name {
        "xdp_md" => ProgramType::Xdp,
        "__sk_buff" => ProgramType::SchedCls,
        "bpf_sock_addr" => ProgramType::CgroupSockAddr,
        "bpf_sock_ops" => ProgramType::SockOps,
        "sk_msg_md" => ProgramType::SkMsg,
        "sk_reuseport_md" => ProgramType::SkReuseport,
        "bpf_sk_lookup" => ProgramType::SkLookup,
        "bpf_sysctl" => ProgramType::CgroupSysctl,
        "bpf_sockopt" => ProgramType::CgroupSockopt,
        "bpf_cgroup_dev_ctx" => ProgramType::CgroupDevice,
        "bpf_perf_event_data" => ProgramType::PerfEvent,
        "bpf_raw_tracepoint_args" => ProgramType::RawTracepoint,
        "pt_regs" => ProgramType::Kprobe,
        _ => return None,
    })
}

fn license(file: &File<'_>) -> String {
    let Some((_, section)) = file.section("license") else { return String::new() };
    let text = section.data.split(|&byte| byte == 0).next().unwrap_or(&[]);
    String::from_utf8_lossy(text).into_owned()
}

fn version(file: &File<'_>) -> u32 {
    let bytes = file.section("version").and_then(|(_, section)| section.data.first_chunk::<4>());
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
