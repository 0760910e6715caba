//! The command-line tool: verbs as thin shells over the library.
//!
//! Results go to stdout, everything said to a person to stderr. Exit status: 0 done, 1 failure, 2 usage,
//! 3 rejected by the verifier, 4 trapped, 5 not permitted or not supported.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod capture;
mod compile;
mod conformance;
mod dump;
mod failure;
mod features;
mod fill;
mod global;
mod input;
mod inspect;
mod kernel;
mod listing;
mod load;
mod machine;
mod map;
mod maps;
mod names;
mod output;
mod plot;
mod replay;
mod report;
mod run;
mod saved;
mod source;
mod statistics;
mod steps;
mod typed;
mod verify;

use std::process::ExitCode;

use clap::Parser;

use failure::Failure;

fn main() -> ExitCode {
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        // Help and version are no errors to clap's caller, and go to stdout.
        Err(error) if error.use_stderr() && std::env::args_os().any(|word| word == "--json") => {
            let text = error.to_string();
            let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            return Failure::usage(message).report(true);
        }
        Err(error) => error.exit(),
    };
    let json = cli.json;
    match dispatch(&cli) {
        Ok(code) => code,
        Err(failure) => failure.report(json),
    }
}

fn dispatch(cli: &args::Cli) -> Result<ExitCode, Failure> {
    match &cli.verb {
        args::Verb::Verify(args) => verify::verify(args, cli.json),
        args::Verb::Inspect(args) => inspect::inspect(args, cli.json),
        args::Verb::Dump(args) => dump::dump(args, cli.json),
        args::Verb::Compile(args) => compile::compile(args, cli.json),
        args::Verb::Load(args) => load::load(args, cli.json),
        args::Verb::Map(args) => map::map(args, cli.json),
        args::Verb::Features => features::features(cli.json),
        args::Verb::Conformance(args) => conformance::conformance(args, cli.json),
        args::Verb::Run(args) => run::run(args, cli.json),
        args::Verb::Bench(args) => bench::bench(args, cli.json),
    }
}
