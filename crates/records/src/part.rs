//! What a question goes through: hot chunks and row groups of segments, alike, by several threads.

use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use isango_store::analytics::Progress;
use isango_store::logs::Error;
use isango_store::row::Row;

use crate::chunk::Chunk;
use crate::columns::Snapshot;
use crate::dressed::Dressed;
use crate::fields::{Fields, Number};
use crate::segment::Segment;

/// Most threads that one question takes.
const MAX_THREADS: usize = 4;
/// A question that goes through fewer rows is answered by its caller's thread alone.
const MIN_SHARED_ROWS: usize = 200_000;

/// Some records that are read together.
#[derive(Clone, Debug)]
pub(crate) enum Part {
    /// As they are since something was said of them.
    Dressed(Arc<Dressed>),
    /// Not sealed yet.
    Hot(Arc<Chunk>),
    /// A row group of a segment.
    Sealed(Arc<Segment>, usize),
}

impl Part {
    /// All parts, the latest first.
    pub(crate) fn all(snapshot: &Snapshot) -> Vec<Self> {
        let dressed = [Self::Dressed(Arc::clone(&snapshot.dressed))];
        let dressed = dressed.into_iter().filter(|part| part.rows() > 0);
        let hot = snapshot.hot.iter().cloned().map(Self::Hot);
        let sealed = snapshot.segments.iter().flat_map(|segment| {
            let groups = 0..segment.groups.len();
            groups.map(|group| Self::Sealed(Arc::clone(segment), group))
        });
        let mut parts: Vec<(u128, Self)> = dressed
            .chain(hot)
            .chain(sealed)
            .map(|part| (part.ids()[1], part))
            .collect();
        parts.sort_by_key(|(last, _)| std::cmp::Reverse(*last));
        parts.into_iter().map(|(_, part)| part).collect()
    }

    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Dressed(dressed) => dressed.chunk.rows,
            Self::Hot(chunk) => chunk.rows,
            Self::Sealed(segment, group) => segment.groups[*group].rows,
        }
    }

    /// First and last id.
    pub(crate) fn ids(&self) -> [u128; 2] {
        match self {
            Self::Dressed(dressed) => dressed.chunk.id_range(),
            Self::Hot(chunk) => chunk.id_range(),
            Self::Sealed(segment, group) => segment.groups[*group].ids,
        }
    }

    /// First and last moment, in microseconds.
    pub(crate) fn created(&self) -> [u64; 2] {
        match self {
            Self::Dressed(dressed) => dressed.chunk.created_range(),
            Self::Hot(chunk) => chunk.created_range(),
            Self::Sealed(segment, group) => segment.groups[*group].created,
        }
    }

    /// Whether it may hold records before a position.
    pub(crate) fn reaches_before(&self, position: u64) -> bool {
        match self {
            Self::Dressed(_) | Self::Hot(_) => position > 0,
            Self::Sealed(segment, _) => segment.first < position,
        }
    }

    /// Some columns of all rows; of hot rows all are here.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn read(&self, fields: &Fields) -> Result<Arc<Chunk>, Error> {
        match self {
            Self::Dressed(dressed) => Ok(Arc::clone(&dressed.chunk)),
            Self::Hot(chunk) => Ok(Arc::clone(chunk)),
            Self::Sealed(segment, group) => Ok(Arc::new(segment.read(*group, fields, None)?)),
        }
    }

    /// Some rows, ascending, as a list shows them; each with its position.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub(crate) fn list(&self, rows: &[u32]) -> Result<Vec<(u64, Row)>, Error> {
        let index = |row: &u32| usize::try_from(*row).unwrap_or(usize::MAX);
        let placed = |chunk: &Chunk, row| (chunk.number_at(Number::Position, row), chunk.row(row));
        match self {
            Self::Dressed(dressed) => Ok(rows
                .iter()
                .filter_map(|row| {
                    let position = dressed.chunk.number_at(Number::Position, index(row));
                    Some((position, dressed.row(index(row))?))
                })
                .collect()),
            Self::Hot(chunk) => Ok(rows.iter().map(|row| placed(chunk, index(row))).collect()),
            Self::Sealed(segment, group) => {
                let chunk = segment.read(*group, &Fields::all(), Some(rows))?;
                Ok((0..chunk.rows).map(|row| placed(&chunk, row)).collect())
            }
        }
    }
}

/// What becomes of going through parts.
pub(crate) struct Visited<T> {
    /// What each thread has made.
    pub(crate) made: Vec<T>,
    /// The first part that was not visited, or not wholly; `None`: every one was.
    pub(crate) stopped_at: Option<usize>,
}

/// Visits parts of so many rows each, in their order but several at once; a part is told by its
/// place. Each thread makes something of its own, which grows with every part that it visits.
/// `progress` tells when to stop; a visit may end early, too, once it does.
///
/// # Errors
/// The first that a visit had; the others stop.
pub(crate) fn visit<T: Send>(
    rows: &[usize],
    progress: &Progress,
    make: impl Fn() -> Result<T, Error> + Sync,
    visit: impl Fn(&mut T, usize) -> Result<(), Error> + Sync,
) -> Result<Visited<T>, Error> {
    let (all, count): (usize, usize) = (rows.iter().sum(), rows.len());
    progress.begin(all as u64);
    let (next, stopped) = (AtomicUsize::new(0), AtomicUsize::new(count));
    let run = || -> Result<T, Error> {
        let mut made = make()?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(rows) = rows.get(at) else { break };
            if progress.is_stopped() {
                stopped.fetch_min(at, Ordering::Relaxed);
                break;
            }
            if let Err(error) = visit(&mut made, at) {
                next.store(count, Ordering::Relaxed);
                return Err(error);
            }
            if progress.is_stopped() {
                stopped.fetch_min(at, Ordering::Relaxed);
                break;
            }
            progress.advance(*rows as u64);
        }
        Ok(made)
    };
    let threads = if all < MIN_SHARED_ROWS { 1 } else { threads() };
    let made: Result<Vec<T>, Error> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let first = run();
        let others = others.into_iter().map(|thread| match thread.join() {
            Ok(made) => made,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(first).chain(others).collect()
    });
    Ok(Visited {
        made: made?,
        stopped_at: Some(stopped.into_inner()).filter(|at| *at < count),
    })
}

fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(MAX_THREADS)
}
