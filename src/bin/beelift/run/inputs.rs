//! The inputs of a run from the command line, and fields of contexts by name.
#![forbid(unsafe_code)]

use beelift::Program;
use beelift::runtime::ctx::ContextLayout;

use crate::args;
use crate::failure::Failure;
use crate::input::{self, Sources};
use crate::source::has_packet;

/// The inputs that the command line names; without any, one empty input for types that need no packet.
pub(super) fn inputs(args: &args::Run, program: &Program) -> Result<Vec<input::Input>, Failure> {
    let sources = Sources {
        packet: args.packet.as_deref(),
        pcap: args.pcap.as_deref(),
        context: args.context.as_deref(),
        vectors: args.vectors.as_deref(),
    };
    let field = |name: &str, value: &str| context_field(program, name, value);
    let mut inputs = sources.read(&field)?;
    if inputs.is_empty() && args.pcap.is_none() && args.vectors.is_none() {
        if has_packet(program) {
            return Err(Failure::usage(format!("a program of type {} needs a packet", program.prog_type))
                .hint("give --packet HEX, --pcap FILE or --vectors FILE"));
        }
        inputs.push(input::Input { name: "input".to_owned(), ..input::Input::default() });
    }
    if let Some(ifindex) = args.world.ifindex {
        let (offset, value) = context_field(program, "ingress_ifindex", &ifindex.to_string())?;
        for input in &mut inputs {
            let context = input.context.get_or_insert_default();
            if context.len() < offset + value.len() {
                context.resize(offset + value.len(), 0);
            }
            context[offset..offset + value.len()].copy_from_slice(&value);
        }
    }
    Ok(inputs)
}

/// Offset and bytes of `FIELD=VALUE` of the UAPI context.
fn context_field(program: &Program, name: &str, value: &str) -> Result<(usize, Vec<u8>), Failure> {
    let layout = program.layout();
    let ContextLayout::Fields { fields, name: structure, .. } = layout else {
        return Err(Failure::usage(format!("a context of type {} has no named fields", program.prog_type))
            .hint("give --context as HEX or @FILE"));
    };
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        let known: Vec<_> = fields.iter().map(|field| field.name).collect();
        return Err(Failure::usage(format!("{structure} has no field `{name}`"))
            .hint(format!("there are: {}", known.join(", "))));
    };
    let parsed = match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => value.parse(),
    };
    let number = parsed.map_err(|error| Failure::usage(format!("{name}={value}: {error}")))?;
    let size = usize::from(field.size).min(8);
    if size < 8 && number >> (8 * size) != 0 {
        return Err(Failure::usage(format!("{name}={value}: more than {size} bytes")));
    }
    Ok((usize::from(field.offset), number.to_le_bytes()[..size].to_vec()))
}
