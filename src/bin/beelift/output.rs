//! Where text goes: results to stdout, everything else to stderr, colour and progress only on a terminal.
//!
//! A reader that closes the pipe (`| head`) ends the process quietly. Not here: what is printed.
#![forbid(unsafe_code)]

use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};

use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};

/// Status of a process whose reader went away, as a shell reports one that SIGPIPE ended.
const BROKEN_PIPE: i32 = 141;

/// Prints a line of results.
macro_rules! out {
    ($($part:tt)*) => { $crate::output::line(format_args!($($part)*)) };
}
/// Prints a line for a person.
macro_rules! say {
    ($($part:tt)*) => { $crate::output::remark(format_args!($($part)*)) };
}
pub(crate) use {out, say};

/// A line on stdout; the process ends when nobody reads any more.
pub(crate) fn line(text: Arguments<'_>) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{text}") {
        if error.kind() == ErrorKind::BrokenPipe {
            std::process::exit(BROKEN_PIPE);
        }
        remark(format_args!("error: stdout: {error}"));
        std::process::exit(1);
    }
}

/// A line on stderr. When it cannot be written there is nobody to tell.
pub(crate) fn remark(text: Arguments<'_>) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether reports on stderr may have colours.
pub(crate) fn color_on_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Fewer steps than this are over before a bar helps.
const BAR_STEPS: usize = 8;

/// A progress bar on a terminal, and nothing elsewhere.
pub(crate) fn progress(len: usize, what: &'static str) -> ProgressBar {
    if len < BAR_STEPS || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
        .expect("a template with known keys only");
    ProgressBar::new(len as u64).with_style(style).with_message(what)
}

/// A table with a head line, without frames: columns line up, and scripts can cut it.
pub(crate) fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head);
    table
}
