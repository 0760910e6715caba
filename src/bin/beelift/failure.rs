//! Errors of the tool: a message, a hint, an exit status, and the same as JSON.
#![forbid(unsafe_code)]

use std::fmt::Display;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::output::{out, say};

/// What went wrong, by exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// 1: an input is unreadable, engines disagree, a comparison fails.
    Failure,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: the verifier rejected a program.
    Rejected,
    /// 4: a program trapped.
    Trap,
    /// 5: not permitted, or not supported by this runtime or this kernel.
    Unsupported,
}

impl Kind {
    pub(crate) const fn status(self) -> u8 {
        match self {
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Rejected => 3,
            Self::Trap => 4,
            Self::Unsupported => 5,
        }
    }
    const fn code(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Usage => "usage",
            Self::Rejected => "rejected",
            Self::Trap => "trap",
            Self::Unsupported => "unsupported",
        }
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    /// Where: a file, a line of it, an instruction.
    pub(crate) span: Option<String>,
    /// A longer text for a person in place of the message.
    report: Option<String>,
}

impl Failure {
    pub(crate) fn new(kind: Kind, message: impl Display) -> Self {
        Self { kind, message: message.to_string(), hint: None, span: None, report: None }
    }
    /// An unreadable input or a failed comparison.
    #[expect(clippy::self_named_constructors, reason = "kinds have constructors of their names")]
    pub(crate) fn failure(message: impl Display) -> Self {
        Self::new(Kind::Failure, message)
    }
    /// A command line that makes no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Kind::Usage, message)
    }
    pub(crate) fn hint(mut self, hint: impl Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
    pub(crate) fn at(mut self, span: impl Display) -> Self {
        self.span = Some(span.to_string());
        self
    }

    /// The same, about something by name.
    pub(crate) fn about(mut self, what: impl Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
    /// With a text for a person that says it better than the message.
    pub(crate) fn with_report(mut self, report: String) -> Self {
        self.report = Some(report);
        self
    }

    /// As the `error` of JSON.
    pub(crate) fn json(&self) -> Value {
        json!({
            "code": self.kind.code(),
            "message": self.message,
            "hint": self.hint,
            "span": self.span,
        })
    }

    /// Says it on stderr.
    pub(crate) fn print(&self) {
        match (&self.report, &self.span) {
            (Some(report), _) => say!("{}", report.trim_end()),
            (None, Some(span)) => say!("error: {span}: {}", self.message),
            (None, None) => say!("error: {}", self.message),
        }
        if let Some(hint) = &self.hint {
            say!("help: {hint}");
        }
    }

    /// Prints the error and gives the exit status.
    pub(crate) fn report(&self, as_json: bool) -> ExitCode {
        if as_json {
            out!("{}", json!({ "schema": 1, "error": self.json() }));
        } else {
            self.print();
        }
        ExitCode::from(self.kind.status())
    }
}
