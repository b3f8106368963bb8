//! Which rows of a part match a filter: term by term, reading the columns of each when its turn
//! comes. A text is compared once for each different text of a part, not for each row.

use isango_store::analytics::Progress;
use isango_store::filter::{CostValue, Filter, NumberField, StatusValue, Term, Test, TextField};
use isango_store::logs::Error;
use isango_types::price::CostStatus;
use isango_types::record::Outcome;
use isango_types::{RecordId, Timestamp};

use crate::catalog::Catalog;
use crate::chunk::{Chunk, Texts};
use crate::columns::Snapshot;
use crate::dressed::Dressed;
use crate::fields::{Fields, NO_WORD, NONE, Number, Text};
use crate::locate::Locator;
use crate::part::Part;
use crate::prune;

/// Which records are asked for.
#[derive(Clone)]
pub(crate) struct Wanted<'q> {
    filter: &'q Filter,
    /// First moment, and the one behind the last, in microseconds.
    created: [u64; 2],
    floor: u64,
    dressed: &'q Dressed,
    catalog: &'q Catalog,
    /// Tells when to stop; then what is selected is not all.
    progress: Option<&'q Progress>,
}

/// Rows of a part, ascending; `None`: all of them.
pub(crate) type Selection = Option<Vec<u32>>;

impl<'q> Wanted<'q> {
    pub(crate) fn new(
        filter: &'q Filter,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        snapshot: &'q Snapshot,
        catalog: &'q Catalog,
    ) -> Self {
        let (first, last) = filter.time_range();
        let first = since.map_or(first, |since| since.max(first)).as_micros();
        let end = last.as_micros().saturating_add(1);
        let end = until.map_or(end, |until| until.as_micros().min(end));
        Self {
            filter,
            created: [first, end],
            floor: snapshot.floor,
            dressed: &snapshot.dressed,
            catalog,
            progress: None,
        }
    }

    /// The same, until `progress` tells to stop.
    pub(crate) const fn heeding(mut self, progress: &'q Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    fn is_stopped(&self) -> bool {
        self.progress.is_some_and(Progress::is_stopped)
    }

    /// Those of them within some time: first moment, and the one behind the last.
    pub(crate) fn within(mut self, [from, until]: [u64; 2]) -> Self {
        self.created = [self.created[0].max(from), self.created[1].min(until)];
        self
    }

    /// First moment, and the one behind the last.
    pub(crate) const fn created(&self) -> [u64; 2] {
        self.created
    }

    /// Whether any of them can have been created between two moments, both included.
    pub(crate) const fn overlaps(&self, [first, last]: [u64; 2]) -> bool {
        let [from, until] = self.created;
        from < until && first < until && last >= from
    }

    /// Whether a part can hold any of them.
    pub(crate) fn may_be_in(&self, part: &Part) -> bool {
        self.overlaps(part.created())
            && match part {
                Part::Sealed(segment, group) => prune::may_match(segment, *group, self.filter),
                Part::Dressed(_) | Part::Hot(_) => true,
            }
    }

    /// The rows of a part that are asked for.
    ///
    /// # Errors
    /// A segment, or a body that must be looked into, cannot be read.
    pub(crate) fn select(&self, part: &Part) -> Result<Selection, Error> {
        let mut selection = None;
        let [first, last] = part.created();
        let [from, until] = self.created;
        if first < from || last >= until {
            let chunk = part.read(&Fields::default().number(Number::CreatedAt))?;
            keep(&mut selection, &chunk, |row| {
                (from..until).contains(&chunk.number_at(Number::CreatedAt, row))
            });
        }
        if part.reaches_before(self.floor) {
            let chunk = part.read(&Fields::default().number(Number::Position))?;
            keep(&mut selection, &chunk, |row| {
                chunk.number_at(Number::Position, row) >= self.floor
            });
        }
        if let Part::Dressed(dressed) = part {
            return self.among_dressed(dressed, selection).map(Some);
        }
        let dressed = self.dressed.between(part.ids());
        if !dressed.is_empty() {
            let chunk = part.read(&Fields::default().id())?;
            keep(&mut selection, &chunk, |row| {
                dressed.binary_search(&chunk.ids[row]).is_err()
            });
        }
        for term in self.filter.terms() {
            if selection.as_ref().is_some_and(Vec::is_empty) {
                break;
            }
            let chunk = part.read(&fields(&term.test))?;
            apply(&mut selection, &chunk, term);
        }
        if self.filter.needs_bodies() {
            self.look_into_bodies(part, &mut selection)?;
        }
        Ok(selection)
    }

    /// The rows that match of those of which something was said later.
    fn among_dressed(&self, dressed: &Dressed, rows: Selection) -> Result<Vec<u32>, Error> {
        let mut rows = rows.unwrap_or_else(|| (0..).take(dressed.chunk.rows).collect());
        let mut locator = Locator::new(self.catalog)?;
        let mut failure = None;
        rows.retain(|row| {
            if self.is_stopped() {
                return false;
            }
            let matches = dressed.matches(index(*row), self.filter, &mut locator);
            matches.unwrap_or_else(|error| {
                failure = Some(error);
                false
            })
        });
        failure.map_or(Ok(rows), Err)
    }

    /// Reads the record of each row that is left, in the order of the journal.
    fn look_into_bodies(&self, part: &Part, selection: &mut Selection) -> Result<(), Error> {
        let chunk = part.read(&Fields::default().number(Number::Position))?;
        let all = || (0..).take(chunk.rows).collect();
        let mut rows: Vec<(u64, u32)> = selection
            .take()
            .unwrap_or_else(all)
            .into_iter()
            .map(|row| (chunk.number_at(Number::Position, index(row)), row))
            .collect();
        rows.sort_unstable();
        let mut locator = Locator::of_words(self.catalog, self.filter.words())?;
        let mut found = Vec::new();
        for (position, row) in rows {
            if self.is_stopped() {
                break;
            }
            let record = locator.record(position)?;
            // What the columns tell was looked at before, as it is since records were priced again.
            if record.is_some_and(|record| self.filter.matches_bodies(&record)) {
                found.push(row);
            }
        }
        found.sort_unstable();
        *selection = Some(found);
        Ok(())
    }
}

fn index(row: u32) -> usize {
    usize::try_from(row).unwrap_or(usize::MAX)
}

/// The rows of a chunk, which has all columns that it takes, that match a filter.
pub(crate) fn by_filter(chunk: &Chunk, filter: &Filter) -> Selection {
    let mut selection = None;
    for term in filter.terms() {
        apply(&mut selection, chunk, term);
    }
    selection
}

fn keep(selection: &mut Selection, chunk: &Chunk, holds: impl Fn(usize) -> bool) {
    match selection {
        Some(rows) => rows.retain(|row| holds(index(*row))),
        None => {
            let rows = (0..).take(chunk.rows);
            *selection = Some(rows.filter(|row| holds(index(*row))).collect());
        }
    }
}

/// The columns that a test looks at.
pub(crate) fn fields(test: &Test) -> Fields {
    let fields = Fields::default();
    match test {
        // What was said later is not in columns.
        Test::Body(_) | Test::Review(..) => fields,
        Test::Text(TextField::Id, _) => fields.id(),
        Test::Text(TextField::Event, _) => fields.id().text(Text::Event),
        Test::Text(TextField::Model, _) => fields.text(Text::Model).text(Text::ModelRequested),
        Test::Text(field, _) => column(*field).into_iter().fold(fields, Fields::text),
        Test::Meta(key, _) => fields.key(key),
        Test::Number(NumberField::Tokens, _) => {
            fields.number(Number::TokensIn).number(Number::TokensOut)
        }
        Test::Number(field, _) => fields.number(number(*field)),
        Test::Status(_) => fields.number(Number::Status).text(Text::Outcome),
        Test::Cost(_) => fields.number(Number::Cost).text(Text::CostStatus),
        Test::Stream(_) => fields.number(Number::Stream),
    }
}

/// The column of a field that has one.
pub(crate) const fn column(field: TextField) -> Option<Text> {
    Some(match field {
        TextField::Id | TextField::Model => return None,
        TextField::Event => Text::Event,
        TextField::Account => Text::Account,
        TextField::Gateway => Text::Gateway,
        TextField::Provider => Text::Provider,
        TextField::Target => Text::Target,
        TextField::Resource => Text::Resource,
        TextField::Deployment => Text::Deployment,
        TextField::Operation => Text::Operation,
        TextField::Outcome => Text::Outcome,
        TextField::Cache => Text::Cache,
        TextField::Blame => Text::Blame,
        TextField::Code => Text::Code,
        TextField::Method => Text::Method,
        TextField::Path => Text::Path,
        TextField::Token => Text::Token,
        TextField::UserAgent => Text::UserAgent,
    })
}

/// The column of a field that has one; that of all tokens has two.
pub(crate) const fn number(field: NumberField) -> Number {
    match field {
        NumberField::Tokens | NumberField::TokensIn => Number::TokensIn,
        NumberField::TokensOut => Number::TokensOut,
        NumberField::Attempts => Number::Attempts,
        NumberField::Duration => Number::Duration,
        NumberField::Ttfb => Number::Ttfb,
        NumberField::Ttft => Number::Ttft,
        NumberField::Time => Number::CreatedAt,
    }
}

/// Whether the texts of a column match, by their codes.
struct Matches<'c> {
    codes: Option<&'c [u32]>,
    hits: Vec<bool>,
    /// Whether a row without a text does.
    absent: bool,
}

impl<'c> Matches<'c> {
    fn new(column: Option<&'c Texts>, holds: impl Fn(&str) -> bool, absent: bool) -> Self {
        let words = column.into_iter().flat_map(|column| column.words.iter());
        Self {
            codes: column.map(|column| column.codes.as_slice()),
            hits: words.map(holds).collect(),
            absent,
        }
    }

    fn holds(&self, row: usize) -> bool {
        match self.codes.map(|codes| codes[row]) {
            None | Some(NO_WORD) => self.absent,
            Some(code) => self.hits.get(index(code)).copied().unwrap_or(false),
        }
    }
}

fn apply(selection: &mut Selection, chunk: &Chunk, term: &Term) {
    let wanted = !term.negated;
    match &term.test {
        Test::Body(_) => {}
        Test::Text(field, any) => {
            let holds = |text: &str| any.iter().any(|pattern| pattern.matches(text));
            by_text(selection, chunk, *field, &holds, wanted);
        }
        Test::Meta(key, any) => {
            let holds = |text: &str| any.iter().any(|value| value.matches_text(text));
            match (chunk.metadata.get(key), &chunk.more) {
                (None, Some(_)) => keep(selection, chunk, |row| {
                    let found = chunk.more_of(key, row);
                    found.is_some_and(|found| holds(&found.to_text())) == wanted
                }),
                (column, _) => {
                    let matches = Matches::new(column.map(|one| &one.values), holds, false);
                    keep(selection, chunk, |row| matches.holds(row) == wanted);
                }
            }
        }
        Test::Number(field, any) => {
            let value = |row| {
                if *field == NumberField::Tokens {
                    tokens(chunk, row)
                } else {
                    chunk.number_at(number(*field), row)
                }
            };
            keep(selection, chunk, |row| {
                let value = value(row);
                (value != NONE && any.iter().any(|span| span.contains(value))) == wanted
            });
        }
        Test::Status(any) => {
            let errors = Errors::new(chunk);
            keep(selection, chunk, |row| {
                any.iter().any(|value| status(*value, chunk, &errors, row)) == wanted
            });
        }
        Test::Cost(any) => {
            let statuses: Vec<CostStatus> = any.iter().filter_map(cost_status).collect();
            let is_named = |text: &str| statuses.iter().any(|status| status.as_str() == text);
            let matches = Matches::new(chunk.text(Text::CostStatus), is_named, false);
            keep(selection, chunk, |row| {
                let cost = chunk.number_at(Number::Cost, row);
                let is_amount = |value: &CostValue| match value {
                    CostValue::Amount(span) => cost != NONE && span.contains(cost),
                    CostValue::Status(_) => false,
                };
                (matches.holds(row) || any.iter().any(is_amount)) == wanted
            });
        }
        Test::Review(..) => keep(selection, chunk, |_| !wanted),
        Test::Stream(stream) => keep(selection, chunk, |row| {
            ((chunk.number_at(Number::Stream, row) == 1) == *stream) == wanted
        }),
    }
}

fn by_text(
    selection: &mut Selection,
    chunk: &Chunk,
    field: TextField,
    holds: &dyn Fn(&str) -> bool,
    wanted: bool,
) {
    let by_id = |row| holds(chunk.id(row).encode(&mut [0; 36]));
    if field == TextField::Id {
        return keep(selection, chunk, |row| by_id(row) == wanted);
    }
    if field == TextField::Model {
        let [served, asked] = [Text::Model, Text::ModelRequested]
            .map(|column| Matches::new(chunk.text(column), holds, false));
        return keep(selection, chunk, |row| {
            (served.holds(row) || asked.holds(row)) == wanted
        });
    }
    let column = column(field).and_then(|column| chunk.text(column));
    let absent = field == TextField::Cache && holds("bypass");
    let matches = Matches::new(column, holds, absent);
    keep(selection, chunk, |row| {
        // An event without an id of its own has that of its record.
        let is_own = field != TextField::Event || chunk.text_at(Text::Event, row).is_some();
        (if is_own {
            matches.holds(row)
        } else {
            by_id(row)
        }) == wanted
    });
}

fn tokens(chunk: &Chunk, row: usize) -> u64 {
    let [input, output] =
        [Number::TokensIn, Number::TokensOut].map(|number| chunk.number_at(number, row));
    if input == NONE || output == NONE {
        NONE
    } else {
        input.saturating_add(output).min(NONE - 1)
    }
}

fn status(value: StatusValue, chunk: &Chunk, errors: &Errors<'_>, row: usize) -> bool {
    let status = chunk.number_at(Number::Status, row);
    match value {
        StatusValue::Number(span) => status != NONE && span.contains(status),
        StatusValue::Class(digit) => status != NONE && status / 100 == digit,
        StatusValue::Error => errors.holds(row),
        StatusValue::Ok => !errors.holds(row),
    }
}

const fn cost_status(value: &CostValue) -> Option<CostStatus> {
    match value {
        CostValue::Amount(_) => None,
        CostValue::Status(status) => Some(*status),
    }
}

/// Which rows failed, as [`Record::is_error`](isango_types::Record::is_error) tells.
pub(crate) struct Errors<'c> {
    status: Option<&'c [u64]>,
    outcome: Matches<'c>,
}

impl<'c> Errors<'c> {
    /// The columns `status` and `outcome` must be here.
    pub(crate) fn new(chunk: &'c Chunk) -> Self {
        let is_whole = [Outcome::Answered, Outcome::ClientLeft].map(Outcome::as_str);
        let failed = |outcome: &str| !is_whole.contains(&outcome);
        Self {
            status: chunk.number(Number::Status),
            outcome: Matches::new(chunk.text(Text::Outcome), failed, false),
        }
    }

    pub(crate) fn holds(&self, row: usize) -> bool {
        let status = self.status.map_or(NONE, |status| status[row]);
        (status != NONE && status >= 400) || self.outcome.holds(row)
    }
}

/// The only id that can match a filter, if it names one.
pub(crate) fn only_id(filter: &Filter) -> Option<RecordId> {
    filter.terms().iter().find_map(|term| {
        let Test::Text(TextField::Id, any) = &term.test else {
            return None;
        };
        let [pattern] = any.as_slice() else {
            return None;
        };
        let id = pattern.as_text()?.parse().ok();
        id.filter(|_| !term.negated)
    })
}
