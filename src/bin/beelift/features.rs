//! `features`: what this machine's kernel and this runtime support, side by side.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use serde_json::{Value, json};

use beelift::codegen::Target;
use beelift::engine::has_context;
use beelift::kernel::probe::{self, Features, Helpers, Support};
use beelift::runtime::ctx::ProgramType;
use beelift::runtime::helper::{self, Helper};
use beelift::runtime::map::{self, CreateError, MapDef, MapFlags, MapKind};
use beelift::runtime::privilege::Capabilities;

use crate::failure::Failure;
use crate::output::{self, out};

/// Runs the verb.
pub(crate) fn features(as_json: bool) -> Result<ExitCode, Failure> {
    let found = Found::find();
    if as_json {
        out!("{}", found.json());
    } else {
        found.print();
    }
    Ok(ExitCode::SUCCESS)
}

/// What was found out.
struct Found {
    kernel: Features,
    native: Result<String, String>,
    /// Which helpers the kernel has for each program type.
    helpers: Vec<(ProgramType, Helpers)>,
}

impl Found {
    fn find() -> Self {
        let kernel = Features::probe();
        let types: Vec<ProgramType> = kernel
            .program_types
            .iter()
            .filter(|(_, support)| *support == Support::Yes)
            .map(|(kind, _)| *kind)
            .collect();
        let bar = output::progress(types.len(), "asking the kernel for helpers");
        let helpers = types.into_iter().map(|kind| {
            let answer = probe::helpers(kind);
            bar.inc(1);
            (kind, answer)
        });
        let helpers = helpers.collect();
        bar.finish_and_clear();
        let native = Target::host().map(|target| target.triple()).map_err(|error| error.to_string());
        Self { kernel, native, helpers }
    }

    /// Program types of the kernel that may call a helper.
    fn callers(&self, number: u32) -> Vec<&'static str> {
        let callers = self.helpers.iter().filter(|(_, answer)| match answer {
            Helpers::Allowed(numbers) => numbers.contains(&number),
            Helpers::NotPermitted(_) | Helpers::Unknown => false,
        });
        callers.map(|(kind, _)| kind.name()).collect()
    }

    /// Whether the kernel told anything about helpers.
    fn knows_helpers(&self) -> bool {
        self.helpers.iter().any(|(_, answer)| matches!(answer, Helpers::Allowed(_)))
    }

    fn print(&self) {
        let kernel = &self.kernel;
        let setting =
            |value: Option<u32>| value.map_or_else(|| "unknown".to_owned(), |value| value.to_string());
        let has = |yes: bool| if yes { "yes" } else { "no" };
        out!("kernel               {}", kernel.release);
        out!("bpf(2)               {}", has(kernel.has_bpf));
        out!("capabilities         {}", kernel.capabilities);
        out!("unprivileged bpf     disabled = {}", setting(kernel.unprivileged_bpf_disabled));
        out!("kernel JIT           {} (hardening {})", setting(kernel.jit), setting(kernel.jit_harden));
        out!("kernel types (BTF)   {}", has(kernel.has_btf));
        out!("BPF file system      {}", has(kernel.has_bpffs));
        for (name, state) in &kernel.mitigations {
            out!("{name:<20} {state}");
        }
        match &self.native {
            Ok(triple) => out!("native code          {triple}"),
            Err(why) => out!("native code          no: {why}"),
        }
        let mut table = output::table(["program type", "user space", "kernel"]);
        for (kind, support) in program_types(kernel) {
            table.add_row([kind.name().to_owned(), has(in_user_space(kind)).to_owned(), support]);
        }
        section("Program types", &table);
        let mut table = output::table(["map type", "user space", "kernel"]);
        for &(kind, support) in &kernel.map_types {
            table.add_row([kind.name().to_owned(), has(map_in_user_space(kind)).to_owned(), word(support)]);
        }
        section("Map types", &table);
        let mut table = output::table(["helper", "number", "user space", "kernel"]);
        for helper in all_helpers() {
            let callers = self.callers(helper.id).len();
            let answer = match callers {
                0 if !self.knows_helpers() => "?".to_owned(),
                0 => "no".to_owned(),
                1 => "1 program type".to_owned(),
                more => format!("{more} program types"),
            };
            let user = has(helper.is_served()).to_owned();
            table.add_row([helper.name.to_owned(), helper.id.to_string(), user, answer]);
        }
        section("Helpers", &table);
    }

    fn json(&self) -> Value {
        let kernel = &self.kernel;
        let types: Vec<Value> = program_types(kernel)
            .map(|(kind, support)| json!({ "type": kind.name(), "user": in_user_space(kind), "kernel": support }))
            .collect();
        let maps: Vec<Value> = kernel
            .map_types
            .iter()
            .map(|&(kind, support)| {
                json!({ "type": kind.name(), "user": map_in_user_space(kind), "kernel": word(support) })
            })
            .collect();
        let helpers: Vec<Value> = all_helpers()
            .map(|helper| {
                json!({
                    "id": helper.id,
                    "name": helper.name,
                    "user": helper.is_served(),
                    "kernel": self.knows_helpers().then(|| self.callers(helper.id)),
                })
            })
            .collect();
        let mitigations: serde_json::Map<String, Value> =
            kernel.mitigations.iter().map(|(name, state)| (name.clone(), json!(state))).collect();
        json!({
            "schema": 1,
            "kernel": {
                "release": kernel.release,
                "bpf": kernel.has_bpf,
                "capabilities": capabilities(kernel.capabilities),
                "unprivileged_bpf_disabled": kernel.unprivileged_bpf_disabled,
                "jit": kernel.jit,
                "jit_harden": kernel.jit_harden,
                "mitigations": mitigations,
                "btf": kernel.has_btf,
                "bpffs": kernel.has_bpffs,
            },
            "user": { "native": self.native.as_ref().ok(), "native_error": self.native.as_ref().err() },
            "program_types": types,
            "map_types": maps,
            "helpers": helpers,
        })
    }
}

/// Names of capabilities.
pub(crate) fn capabilities(set: Capabilities) -> Vec<String> {
    set.iter().map(|capability| capability.to_string()).collect()
}

fn section(title: &str, table: &comfy_table::Table) {
    out!("");
    out!("{title}");
    for line in table.trim_fmt().lines() {
        out!("{line}");
    }
}

/// The kernel's program types, then our own.
fn program_types(kernel: &Features) -> impl Iterator<Item = (ProgramType, String)> {
    let known = kernel.program_types.iter().map(|&(kind, support)| (kind, word(support)));
    let ours = ProgramType::ALL.iter().filter(|kind| kind.id() >= 0x1000);
    known.chain(ours.map(|&kind| (kind, "no".to_owned())))
}

fn word(support: Support) -> String {
    match support {
        Support::Yes => "yes".to_owned(),
        Support::No => "no".to_owned(),
        Support::NotPermitted(missing) if missing.is_empty() => "forbidden by the kernel".to_owned(),
        Support::NotPermitted(missing) => format!("not permitted: lacks {missing}"),
    }
}

/// Whether user space can run programs of a type.
fn in_user_space(kind: ProgramType) -> bool {
    !kind.info().kernel_only && has_context(kind)
}

/// Whether user space has a map type: found by making the smallest one.
fn map_in_user_space(kind: MapKind) -> bool {
    let mut def = MapDef::new("probe", kind, 4, 4, 1);
    if kind == MapKind::LpmTrie {
        (def.key_size, def.flags) = (8, MapFlags::NO_PREALLOC);
    }
    if kind == MapKind::Ringbuf {
        (def.key_size, def.value_size, def.max_entries) = (0, 0, 4096);
    }
    !matches!(map::create(&def, 1), Err(CreateError::Unsupported { .. }))
}

fn all_helpers() -> impl Iterator<Item = &'static Helper> {
    (1..).map_while(helper::by_id)
}
