//! Files of SQLite: how they are opened, who may read them, and what happens to a damaged one.

pub(crate) mod cache;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

/// How long a statement waits for another connection's lock.
const BUSY: Duration = Duration::from_secs(2);

/// Opens a file for reading and writing; makes it where it is missing. Nobody else may read it:
/// SQLite gives the files beside it the same mode.
///
/// # Errors
/// It cannot be made or opened, or is no database.
pub(crate) fn open(file: &Path) -> Result<Connection, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    close_to_others(&options.open(file)?)?;
    open_existing(file)
}

/// Makes the tables of `schema` in a new file; another file must be of that `version`.
///
/// # Errors
/// [`Error::Version`], or it cannot be read or written.
pub(crate) fn establish(connection: &Connection, schema: &str, version: i64) -> Result<(), Error> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let is_new: bool = connection.query_row(
        "SELECT count(*) = 0 FROM sqlite_schema WHERE type = 'table'",
        [],
        |row| row.get(0),
    )?;
    if is_new {
        connection.execute_batch(schema)?;
        connection.pragma_update(None, "user_version", version)?;
    } else if found != version {
        return Err(Error::Version);
    }
    Ok(())
}

/// Opens an existing file for reading and writing: only so can it be read behind a writer that
/// crashed.
///
/// # Errors
/// It is not there, or is no database.
pub(crate) fn open_existing(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Takes from everybody else what a file that was there before allowed them.
fn close_to_others(file: &File) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
    }
    #[cfg(not(unix))]
    let _ = file;
    Ok(())
}

/// Opens an existing file for reading.
///
/// # Errors
/// It is not there, or is no database.
pub(crate) fn open_to_read(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        file,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Where a damaged file is put.
fn aside(file: &Path) -> PathBuf {
    beside(file, ".bad")
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Removes the damaged file that was put out of the way, if there is one.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn remove_aside(file: &Path) -> io::Result<()> {
    match fs::remove_file(aside(file)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts a damaged file, and those beside it, out of the way: `cache.sqlite` becomes
/// `cache.sqlite.bad`. An older one of that name is replaced.
///
/// # Errors
/// It cannot be moved.
pub(crate) fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let aside = aside(file);
    match fs::rename(file, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for companion in ["-wal", "-shm"].map(|suffix| beside(file, suffix)) {
        match fs::remove_file(companion) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(aside)
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the file cannot be used")]
    Io(#[from] io::Error),
    #[error("the database failed")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the database is of another version")]
    Version,
}

impl Error {
    /// Whether the file itself is at fault, and another one would help.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            Self::Version => true,
            Self::Io(_) => false,
        }
    }
}
