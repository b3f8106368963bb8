//! Questions to the record store: within a time, and no longer than somebody waits for the answer.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use isango_store::analytics::Progress;
use isango_store::logs::{Error, LogReader};

use crate::error::Failure;
use crate::{Control, reading};

/// How long a question takes at most; what was found until then is its answer.
pub(crate) const BUDGET: Duration = Duration::from_secs(10);

/// Ends a question whose answer nobody waits for any more.
struct Unheard(Arc<Progress>);

impl Drop for Unheard {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Asks the record store. After `budget` the question is told to end; tells how much was looked at,
/// 0 to 1, too.
///
/// # Errors
/// The store cannot be read.
pub(crate) async fn ask<T: Send + 'static>(
    control: &Control,
    budget: Duration,
    question: impl FnOnce(&dyn LogReader, &Progress) -> Result<T, Error> + Send + 'static,
) -> Result<(T, f64), Failure> {
    let progress = Arc::new(Progress::default());
    let unheard = Unheard(Arc::clone(&progress));
    let mut asking = pin!(reading(control, move |control| {
        let answer = question(&*control.logs, &progress).map_err(|error| failed(&error))?;
        Ok((answer, progress.fraction()))
    }));
    tokio::select! {
        answer = &mut asking => return answer,
        () = tokio::time::sleep(budget) => {}
    }
    unheard.0.stop();
    asking.await
}

/// The record store failed.
pub(crate) fn failed(error: &Error) -> Failure {
    Failure::internal(error)
}
