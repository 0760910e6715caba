//! Maps behind files: a path that any process of the same user opens to see the same values.
//!
//! In: definitions and paths. Out: arrays whose values are the mapped file, so that updates of one process are at once
//! seen by the others and outlive them all. A file is trusted only if nobody but its owner may write it, and the owner is
//! this user or root: who may write it may also shorten it, which ends the processes that use it (INV-14).
//!
//! Other kinds of maps are refused by name: their tables are bound to one process.
#![forbid(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, OFlags, fallocate};

use super::header::{BYTES, Header, SharedError};
use super::share::over;
use crate::map::{Map, MapDef};

fn failed(what: &str, path: &Path) -> impl Fn(io::Error) -> SharedError {
    let what = format!("{what} {}", path.display());
    move |error| SharedError::Io { what: what.clone(), error }
}

/// A new map behind a new file, with the definition's initial contents.
///
/// # Errors
/// A file that is there already, a map that cannot be shared, and whatever the system refuses.
pub fn create(def: &MapDef, cpus: u32, path: &Path) -> Result<Arc<dyn Map>, SharedError> {
    let header = Header::of(def)?;
    // Checks the definition as for any map; its own memory is not used.
    drop(crate::map::create(&MapDef { initial: None, ..def.clone() }, cpus)?);
    let temporary = temporary(path);
    let written = write(&temporary, &header, def);
    // A name of its own until it is complete: nobody opens half a map.
    let linked = written.and_then(|file| {
        std::fs::hard_link(&temporary, path).map_err(failed("creating", path))?;
        Ok(file)
    });
    let _ = std::fs::remove_file(&temporary);
    over(linked?, def, cpus)
}

/// The map behind a file, if it is one like `def`.
///
/// # Errors
/// No such file, one that is no map or not to be trusted, another map, and whatever the system refuses.
pub fn open(def: &MapDef, cpus: u32, path: &Path) -> Result<Arc<dyn Map>, SharedError> {
    let (file, header) = look(path)?;
    header.agree(&Header::of(def)?)?;
    over(file, def, cpus)
}

/// The map behind a file, whatever it is.
///
/// # Errors
/// As [`open`].
pub fn open_any(cpus: u32, path: &Path) -> Result<Arc<dyn Map>, SharedError> {
    let (file, header) = look(path)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let def = header.def(&name);
    Header::of(&def)?;
    drop(crate::map::create(&MapDef { max_entries: 1, ..def.clone() }, cpus)?);
    over(file, &def, cpus)
}

/// The map behind a file, or a new one.
///
/// # Errors
/// As [`open`] and [`create`].
pub fn open_or_create(def: &MapDef, cpus: u32, path: &Path) -> Result<Arc<dyn Map>, SharedError> {
    let missing = |error: &SharedError| matches!(error, SharedError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound);
    let taken = |error: &SharedError| matches!(error, SharedError::Io { error, .. } if error.kind() == io::ErrorKind::AlreadyExists);
    match open(def, cpus, path) {
        Err(error) if missing(&error) => {}
        result => return result,
    }
    match create(def, cpus, path) {
        // Another process was faster.
        Err(error) if taken(&error) => open(def, cpus, path),
        result => result,
    }
}

/// Takes the name away; processes that use the map keep it.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove(path: &Path) -> Result<(), SharedError> {
    std::fs::remove_file(path).map_err(failed("removing", path))
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    name.into()
}

fn write(path: &Path, header: &Header, def: &MapDef) -> Result<File, SharedError> {
    let wrong = failed("writing", path);
    let values = header.values().ok_or(SharedError::Damaged("sizes past counting"))?;
    let options = || -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&header.to_bytes())?;
        reserve(&file, BYTES + values)?;
        if let Some(initial) = &def.initial {
            write_initial(&mut file, initial, def)?;
        }
        Ok(file)
    };
    options().map_err(wrong)
}

/// Initial values, each at its place.
fn write_initial(file: &mut File, initial: &[u8], def: &MapDef) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let size = def.value_size.max(1) as usize;
    let values = initial.chunks(size).take(def.max_entries as usize);
    for (value, at) in values.zip((BYTES..).step_by(size.next_multiple_of(8))) {
        file.write_all_at(value, at)?;
    }
    Ok(())
}

/// Memory behind all of the file: an access that finds none would end the process.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP) => {
            // A file system that cannot promise: written, it is there.
            let have = file.metadata()?.len();
            let zeros = [0; 4096];
            let mut at = have;
            while at < len {
                use std::os::unix::fs::FileExt;
                let piece = (len - at).min(zeros.len() as u64) as usize;
                file.write_all_at(&zeros[..piece], at)?;
                at += piece as u64;
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Opens a file and reads what it says of itself.
fn look(path: &Path) -> Result<(File, Header), SharedError> {
    let wrong = failed("opening", path);
    // No link to somewhere else, no waiting for the other end of a pipe.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits().cast_signed();
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(&wrong)?;
    let meta = file.metadata().map_err(&wrong)?;
    if !meta.is_file() {
        return Err(SharedError::Damaged("no ordinary file"));
    }
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user && meta.uid() != 0 {
        return Err(SharedError::Untrusted("it belongs to another user"));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(SharedError::Untrusted("others may write it"));
    }
    let mut start = Vec::new();
    (&mut file).take(BYTES).read_to_end(&mut start).map_err(&wrong)?;
    let header = Header::parse(&start, meta.len())?;
    let values = header.values().ok_or(SharedError::Damaged("sizes past counting"))?;
    reserve(&file, BYTES + values).map_err(&wrong)?;
    Ok((file, header))
}
