//! Reading: in the process that writes, or beside it.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use isango_store::analytics::{Aggregate, Answer, List, Listing, Progress};
use isango_store::logs::{Error, Frames, LogReader, Page, Position, Query};
use isango_types::{Record, RecordId};
use parking_lot::Mutex;

use crate::catalog::{self, Catalog, Volume, journal_path};
use crate::columns::Columns;
use crate::disk::{Disk, RealDisk};
use crate::overlay::Overlay;
use crate::scan::Scan;
use crate::{aggregate, list, passing, query};

/// Reads a record store; changes nothing in its folder, and keeps no writer out.
#[derive(Debug)]
pub struct Reader {
    catalog: Arc<Catalog>,
    /// The newest file as last seen, where another process writes; `None` where this one does.
    beside: Option<Mutex<Option<Scan>>>,
    columns: Arc<Columns>,
    overlay: Arc<Overlay>,
}

impl Reader {
    /// A reader in the process that writes: the writer keeps the catalog true.
    pub(crate) const fn of(
        catalog: Arc<Catalog>,
        columns: Arc<Columns>,
        overlay: Arc<Overlay>,
    ) -> Self {
        Self {
            catalog,
            beside: None,
            columns,
            overlay,
        }
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// What was said of its records later.
    pub(crate) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let catalog = Arc::new(Catalog::new(&crate::journal_dir(dir), Vec::new()));
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let overlay = Arc::new(Overlay::in_folder(Arc::clone(&disk), dir));
        let projected = (Arc::clone(&catalog), Arc::clone(&overlay));
        let columns = Columns::beside(disk, &crate::columns_dir(dir), projected);
        let reader = Self {
            catalog,
            beside: Some(Mutex::new(None)),
            columns: Arc::new(columns),
            overlay,
        };
        reader.refresh()?;
        Ok(reader)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.catalog.bytes()
    }

    /// The columns: where another process writes, as they were when they were last asked.
    pub(crate) fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Takes in what another process has written since, columns too.
    pub(crate) fn refresh_columns(&self) -> Result<&Columns, Error> {
        self.refresh()?;
        if self.beside.is_some() {
            self.columns.refresh()?;
        }
        Ok(&self.columns)
    }

    /// Takes in what another process has written since.
    fn refresh(&self) -> Result<(), Error> {
        let Some(beside) = &self.beside else {
            return Ok(());
        };
        let mut seen = beside.lock();
        let dir = &self.catalog.dir;
        let mut numbers = catalog::numbers(dir)?;
        let Some(newest) = numbers.pop() else {
            return Ok(());
        };
        let known = self.catalog.volumes();
        let was_newest = known.last().map(|volume| volume.summary.number);
        let mut volumes = Vec::new();
        for number in numbers {
            let same = |volume: &&Volume| volume.summary.number == number;
            match known
                .iter()
                .find(same)
                .filter(|_| was_newest != Some(number))
            {
                Some(volume) => volumes.push(volume.clone()),
                None => volumes.extend(catalog::load(dir, number)?),
            }
        }
        let file = match File::open(journal_path(dir, newest)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(file) = file {
            *seen = match seen.take() {
                Some(mut scan) if scan.header.number == newest && scan.still_holds(&file)? => {
                    scan.advance(&file)?;
                    Some(scan)
                }
                Some(_) | None => Scan::of(&file)?,
            };
            volumes.extend(seen.clone().map(Volume::new));
        }
        self.catalog.replace(volumes);
        Ok(())
    }
}

impl LogReader for Reader {
    fn get(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.refresh()?;
        let columns = self.beside.is_none().then_some(&*self.columns);
        query::get(&self.catalog, &self.overlay, columns, id)
    }

    fn search(&self, query: &Query, progress: &Progress) -> Result<Page, Error> {
        // All records, or those with a text in their bodies: the frames themselves tell.
        if !query.filter.is_empty()
            && !query.filter.needs_bodies()
            && !query.with_deleted
            && let Some(page) =
                query::by_columns(self.refresh_columns()?, &self.overlay, query, progress)?
        {
            return Ok(page);
        }
        self.refresh()?;
        query::query(&self.catalog, &self.overlay, query, progress)
    }

    fn list(&self, list: &List, progress: &Progress) -> Result<Listing, Error> {
        list::list(self.refresh_columns()?, list, progress)
    }

    fn aggregate(&self, question: &Aggregate, progress: &Progress) -> Result<Answer, Error> {
        aggregate::aggregate(self.refresh_columns()?, question, progress)
    }

    fn end(&self) -> Result<Position, Error> {
        self.refresh()?;
        Ok(query::end(&self.catalog))
    }

    fn follow(&self, from: Position, limit: usize) -> Result<(Vec<Record>, Position), Error> {
        self.refresh()?;
        query::follow(&self.catalog, &self.overlay, from, limit)
    }

    fn frames(&self, from: Position, room: usize) -> Result<Frames, Error> {
        self.refresh()?;
        passing::frames(&self.catalog, &self.overlay, from, room)
    }

    fn dropped(&self, from: Position, to: Position) -> Result<u64, Error> {
        self.refresh()?;
        passing::dropped(&self.catalog, from, to)
    }
}
