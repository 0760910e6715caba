//! `compile`: programs as a relocatable object with a C header, for a machine that need not be this one.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use beelift::aot::{self, AotError, Unit};
use beelift::codegen::{self, Target};
use beelift::ir;
use beelift::verify::Options;

use crate::args;
use crate::dump::{uncompiled, verified};
use crate::failure::{Failure, Kind};
use crate::output::out;
use crate::source::Opened;

/// Runs the verb.
pub(crate) fn compile(args: &args::Compile, as_json: bool) -> Result<ExitCode, Failure> {
    let target = target(args)?;
    let opened = Opened::open(&args.source)?;
    if !as_json {
        opened.warn();
    }
    if opened.object().is_some_and(|object| !object.map_entries().is_empty()) {
        let message = "the object sets elements of maps, which the ahead-of-time runtime does not do";
        return Err(Failure::new(Kind::Unsupported, message).at(&opened.label));
    }
    let options =
        Options { cpus: Some(args.cpus), ..Options::with_policy(crate::verify::policy(args.policy)) };
    let mut compiled = Vec::new();
    for name in opened.chosen()? {
        let (program, _) = opened.link(&name)?;
        let verified = verified(program, &options)?;
        let code = codegen::compile_verified(&verified, ir::Options::default(), &target)
            .map_err(|error| uncompiled(verified.program(), &error))?;
        compiled.push((verified, code));
    }
    let units: Vec<Unit<'_>> = compiled.iter().map(|(verified, code)| Unit { verified, code }).collect();
    let options = aot::Options { cpus: args.cpus, external: args.external.clone() };
    let output = aot::write(&units, &target, &options).map_err(|error| unwritten(&error))?;
    let header = args.header.clone().unwrap_or_else(|| args.output.with_extension("h"));
    if header == args.output {
        return Err(Failure::usage(
            "the object and its header would be the same file: name it with --header",
        ));
    }
    store(&args.output, &output.object)?;
    store(&header, output.header.as_bytes())?;
    if let Some(directory) = &args.runtime {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::failure(error).at(directory.display()))?;
        store(&directory.join("beelift.h"), aot::RUNTIME_HEADER.as_bytes())?;
        store(&directory.join("beelift.c"), aot::RUNTIME_SOURCE.as_bytes())?;
    }
    let names: Vec<&str> = units.iter().map(|unit| unit.verified.program().name.as_str()).collect();
    let bytes: usize = units.iter().map(|unit| unit.code.size()).sum();
    if as_json {
        let (object, header) = (args.output.display().to_string(), header.display().to_string());
        out!(
            "{}",
            json!({
                "schema": 1,
                "object": object,
                "header": header,
                "target": target.triple(),
                "programs": names,
                "code_bytes": bytes,
            })
        );
    } else {
        out!(
            "{}: {} for {}, {bytes} bytes of code; {}",
            args.output.display(),
            names.join(", "),
            target.triple(),
            header.display()
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn target(args: &args::Compile) -> Result<Target, Failure> {
    let here = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let features: Vec<&str> = args.cpu_feature.iter().map(String::as_str).collect();
    Target::for_triple(args.target.as_deref().unwrap_or(&here), &features)
        .map_err(|error| Failure::new(Kind::Unsupported, error))
}

fn unwritten(error: &AotError) -> Failure {
    match error {
        AotError::Helper { helper, .. } => Failure::new(Kind::Unsupported, error)
            .hint(format!("define beelift_{helper} in C and say --external {helper}")),
        AotError::Map { .. } | AotError::Feature { .. } => Failure::new(Kind::Unsupported, error),
        AotError::Cpus(_) => Failure::usage(error),
        _ => Failure::failure(error),
    }
}

fn store(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::failure(error).at(path.display()))
}
