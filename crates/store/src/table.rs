//! Tables: named columns of one kind each, for formats that have columns.

use isango_types::Timestamp;

use crate::logs::Error;

/// A column, as long as all others of its table.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: Box<str>,
    /// A value for each row, or none.
    pub values: Values,
}

/// The values of a column; `None` where a row has none.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Texts.
    Texts(Vec<Option<Box<str>>>),
    /// Whole numbers.
    Numbers(Vec<Option<u64>>),
    /// Numbers with decimals.
    Decimals(Vec<Option<f64>>),
    /// True or false.
    Flags(Vec<Option<bool>>),
    /// Moments.
    Times(Vec<Option<Timestamp>>),
}

impl Values {
    /// How many rows it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        match self {
            Self::Texts(values) => values.len(),
            Self::Numbers(values) => values.len(),
            Self::Decimals(values) => values.len(),
            Self::Flags(values) => values.len(),
            Self::Times(values) => values.len(),
        }
    }

    /// Adds a row that has none.
    pub fn push_none(&mut self) {
        match self {
            Self::Texts(values) => values.push(None),
            Self::Numbers(values) => values.push(None),
            Self::Decimals(values) => values.push(None),
            Self::Flags(values) => values.push(None),
            Self::Times(values) => values.push(None),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A format of files that have columns.
pub trait TableFormat: Send + Sync {
    /// A whole file with these columns.
    ///
    /// # Errors
    /// The columns are not of one length, or the file could not be made.
    fn write(&self, columns: &[Column]) -> Result<Vec<u8>, Error>;
}
