//! Brings letters to their webhooks: again and again until they are taken, each at its own pace.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use isango_store::logs::{LogStore, Query};
use isango_store::outbox::{self, Letter, Put};
use isango_types::alert::Webhook;
use isango_types::{Alert, RecordId};
use tokio::sync::watch;
use tokio::task::{self, JoinError, JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Alerts, Event, Message, message, models, standing};

/// Letters that are on their way at once.
const MAX_FLIGHTS: usize = 8;
/// The wait after the first failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait between two tries that is ours to choose.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// The longest wait that a webhook may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);
/// How long it is tried.
const GIVE_UP_AFTER: Duration = Duration::from_secs(86_400);
/// How long the outbox is left alone when it failed.
const REST: Duration = Duration::from_secs(1);
/// How long what is on its way may take when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Records of before that are looked at when the server starts: what an earlier process stored last
/// and may not have judged.
const LOOK_BACK: usize = 1_000;

/// Sends one message to a webhook.
pub trait Post: Send + Sync + 'static {
    /// Sends it, and tells what the other side said, or why there was no answer: in words that name
    /// no address.
    fn post(
        &self,
        webhook: &Webhook,
        message: Message,
    ) -> impl Future<Output = Result<Posted, String>> + Send;
}

/// Characters of what a webhook said that are shown.
const MAX_SHOWN: usize = 200;

/// What a webhook said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Its status.
    pub status: StatusCode,
    /// How long it asks us to wait.
    pub retry_after: Option<Duration>,
    /// The beginning of what it said.
    pub text: String,
}

impl Posted {
    /// The first line of what it said, without what a terminal would obey.
    #[must_use]
    pub fn shown(&self) -> String {
        let line = self.text.lines().next().unwrap_or_default();
        let shown = line.chars().filter(|c| !c.is_control());
        shown.take(MAX_SHOWN).collect()
    }
}

/// A letter that waits or is on its way.
struct Waiting {
    letter: Letter,
    /// What it says, once it is put together.
    event: Option<Event>,
    tries: u32,
    /// When it is tried next.
    due: Instant,
    /// The task that brings it, if it is on its way.
    flight: Option<task::Id>,
}

/// What became of a try.
struct Landed {
    id: RecordId,
    event: Event,
    said: Result<Posted, String>,
}

/// The state of one run.
struct Round<P> {
    post: Arc<P>,
    logs: Arc<dyn LogStore>,
    waiting: BTreeMap<RecordId, Waiting>,
    flights: JoinSet<Landed>,
    /// When the outbox is tried again.
    rests_until: Option<Instant>,
    /// When what an earlier process left is read, and how long to wait if that fails; `None`: it
    /// was.
    begins: Option<(Instant, Duration)>,
}

impl<P> Round<P> {
    /// One more that waits; one that is on its way goes on.
    fn add(&mut self, letter: Letter) {
        if self.waiting.contains_key(&letter.id) {
            return;
        }
        let waiting = Waiting {
            event: None,
            tries: 0,
            due: Instant::now(),
            flight: None,
            letter,
        };
        self.waiting.insert(waiting.letter.id, waiting);
    }

    /// When there is something to do of itself.
    fn next_due(&self) -> Instant {
        let resting = self.waiting.values().filter(|one| one.flight.is_none());
        let full = self.flights.len() >= MAX_FLIGHTS;
        let due = resting.map(|one| one.due).filter(|_| !full);
        let never = Instant::now() + GIVE_UP_AFTER;
        let begins = self.begins.map(|(at, _)| at);
        due.chain(self.rests_until)
            .chain(begins)
            .min()
            .unwrap_or(never)
    }
}

impl Alerts {
    /// Delivers until `stopping`; begins with what an earlier process left.
    pub async fn run<P: Post>(
        self: Arc<Self>,
        post: P,
        logs: Arc<dyn LogStore>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut round = Round {
            post: Arc::new(post),
            logs,
            waiting: BTreeMap::new(),
            flights: JoinSet::new(),
            rests_until: None,
            begins: Some((Instant::now(), FIRST_WAIT)),
        };
        loop {
            if round.begins.is_some_and(|(at, _)| at <= Instant::now()) {
                self.begin(&mut round).await;
            }
            self.keep(&mut round).await;
            self.start_due(&mut round).await;
            let next = round.next_due();
            let stopped = async { stopping.wait_for(|stop| *stop).await.is_ok() };
            let landed = tokio::select! {
                _stopped = stopped => break,
                () = self.wake.notified() => None,
                Some(landed) = round.flights.join_next() => Some(landed),
                () = sleep_until(next) => None,
            };
            if let Some(landed) = landed {
                self.land(&mut round, landed).await;
            }
        }
        // Nothing is begun any more; what is on its way may arrive.
        let arriving = async {
            while let Some(landed) = round.flights.join_next().await {
                self.land(&mut round, landed).await;
            }
        };
        if timeout(STOP_PATIENCE, arriving).await.is_err() {
            tracing::warn!("alerts that are on their way are sent again after the next start");
        }
    }

    /// Takes up what an earlier process left: letters, keys, and records that it may not have judged.
    /// An outbox that cannot be read is tried again, later each time.
    async fn begin<P: Post>(self: &Arc<Self>, round: &mut Round<P>) {
        let (alerts, logs) = (Arc::clone(self), Arc::clone(&round.logs));
        let reading = move || -> Result<Vec<Letter>, outbox::Error> {
            let outbox = &alerts.parts.outbox;
            let (letters, taken) = (outbox.waiting()?, outbox.taken(alerts.parts.clock.now())?);
            alerts.watch.lock().taken.extend(taken);
            let config = alerts.parts.config.get();
            if config.gateways().all(|gateway| gateway.alerts.is_empty()) {
                return Ok(letters);
            }
            let query = Query {
                limit: LOOK_BACK,
                ..Query::default()
            };
            match logs.query(&query) {
                Ok(page) => alerts.look_back(&page.records),
                Err(error) => tracing::warn!(%error, "the latest records were not judged"),
            }
            Ok(letters)
        };
        let wait = round.begins.take().map_or(FIRST_WAIT, |(_, wait)| wait);
        let later = (wait * 2).min(LONGEST_WAIT);
        let failed = match spawn_blocking(reading).await {
            Ok(Ok(letters)) => {
                self.watch.lock().remember(&letters);
                letters.into_iter().for_each(|letter| round.add(letter));
                None
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = failed {
            tracing::error!(%error, ?wait, "alerts that wait cannot be read yet");
            round.begins = Some((Instant::now() + wait, later));
        }
        self.tell_waiting(round);
    }

    /// Keeps what was decided since.
    async fn keep<P: Post>(self: &Arc<Self>, round: &mut Round<P>) {
        let rests = |until: Instant| until > Instant::now();
        if round.rests_until.is_some_and(rests) {
            return;
        }
        round.rests_until = None;
        let decided = std::mem::take(&mut self.watch.lock().pending);
        if decided.is_empty() {
            return;
        }
        let (alerts, letters) = (Arc::clone(self), decided.clone());
        let kept = spawn_blocking(move || alerts.parts.outbox.put(&letters)).await;
        match kept {
            Ok(Ok(put)) => self.take_up(round, decided, &put),
            Ok(Err(error)) => {
                tracing::error!(%error, "alerts cannot be kept, and are not sent yet");
                let mut watch = self.watch.lock();
                let since = std::mem::replace(&mut watch.pending, decided);
                watch.pending.extend(since);
                round.rests_until = Some(Instant::now() + REST);
            }
            Err(error) => tracing::error!(%error, "keeping alerts failed"),
        }
    }

    fn take_up<P: Post>(&self, round: &mut Round<P>, decided: Vec<Letter>, put: &Put) {
        for letter in decided
            .into_iter()
            .filter(|one| put.taken.contains(&one.id))
        {
            self.metrics.count(&letter, "decided");
            tracing::info!(gateway = %letter.gateway, alert = %letter.alert, "an alert is due");
            round.add(letter);
        }
        for id in &put.dropped {
            if let Some(Waiting { letter, .. }) = round.waiting.remove(id) {
                self.metrics.count(&letter, "dropped");
                tracing::error!(
                    gateway = %letter.gateway, alert = %letter.alert,
                    "an alert was dropped: too many wait"
                );
            }
        }
        let (config, now) = (self.parts.config.get(), self.parts.clock.now());
        self.watch.lock().sweep(&config, now);
        self.tell_waiting(round);
    }

    /// Sends what is due.
    async fn start_due<P: Post>(self: &Arc<Self>, round: &mut Round<P>) {
        let (config, now) = (self.parts.config.get(), Instant::now());
        let mut orphans = Vec::new();
        for (id, waiting) in &mut round.waiting {
            if round.flights.len() >= MAX_FLIGHTS {
                break;
            }
            if waiting.flight.is_some() || waiting.due > now {
                continue;
            }
            let letter = &waiting.letter;
            let gateway = config.gateway(&letter.account, &letter.gateway);
            let alert = gateway.and_then(|one| one.alerts.iter().find(|a| a.id == letter.alert));
            let read = || serde_json::from_str(&letter.event).ok();
            let event = waiting.event.clone().or_else(read);
            let (Some(alert), Some(event)) = (alert, event) else {
                orphans.push(*id);
                continue;
            };
            let logs = waiting.event.is_none().then(|| Arc::clone(&round.logs));
            let (alerts, post) = (Arc::clone(self), Arc::clone(&round.post));
            let flight = alerts.fly(post, Arc::clone(alert), event, logs);
            waiting.flight = Some(round.flights.spawn(flight).id());
        }
        for id in orphans {
            self.give_up(round, id, "it is not configured any more")
                .await;
        }
    }

    /// One try. The first puts the event together.
    async fn fly<P: Post>(
        self: Arc<Self>,
        post: Arc<P>,
        alert: Arc<Alert>,
        mut event: Event,
        logs: Option<Arc<dyn LogStore>>,
    ) -> Landed {
        if let Some(logs) = logs {
            let mut whole = event.clone();
            let adding = move || models::add_top_models(&mut whole, &*logs).map(|()| whole);
            match spawn_blocking(adding).await {
                Ok(Ok(whole)) => event = whole,
                Ok(Err(error)) => tracing::warn!(%error, "an alert tells no models"),
                Err(error) => tracing::error!(%error, "an alert tells no models"),
            }
        }
        let message = message(&event, &alert.webhook, self.parts.clock.now());
        let said = Box::pin(post.post(&alert.webhook, message)).await;
        Landed {
            id: event.id,
            event,
            said,
        }
    }

    /// Takes note of what became of a try.
    async fn land<P: Post>(
        self: &Arc<Self>,
        round: &mut Round<P>,
        landed: Result<Landed, JoinError>,
    ) {
        let Landed { id, event, said } = match landed {
            Ok(landed) => landed,
            Err(error) => {
                tracing::error!(%error, "sending an alert failed");
                let mut all = round.waiting.values_mut();
                if let Some(waiting) = all.find(|one| one.flight == Some(error.id())) {
                    waiting.flight = None;
                    waiting.due = Instant::now() + LONGEST_WAIT;
                }
                return;
            }
        };
        let Some(waiting) = round.waiting.get_mut(&id) else {
            return;
        };
        waiting.event = Some(event);
        waiting.flight = None;
        waiting.tries += 1;
        let letter = &waiting.letter;
        let now = self.parts.clock.now();
        self.watch.lock().landed(letter, &said, now);
        let (gateway, alert, tries) = (&letter.gateway, &letter.alert, waiting.tries);
        let (why, asked) = match said {
            Ok(posted) if posted.status.is_success() => {
                self.metrics.count(letter, "delivered");
                tracing::info!(%gateway, %alert, tries, "an alert was delivered");
                return self.forget(round, id).await;
            }
            Ok(posted) => (standing::refused(&posted), posted.retry_after),
            Err(why) => (why, None),
        };
        self.metrics.count(letter, "failed");
        if letter.at.plus(GIVE_UP_AFTER) <= now {
            return self.give_up(round, id, &why).await;
        }
        let wait = wait_after(tries, asked);
        tracing::warn!(%gateway, %alert, tries, why, ?wait, "an alert is not delivered yet");
        waiting.due = Instant::now() + wait;
    }

    async fn give_up<P: Post>(self: &Arc<Self>, round: &mut Round<P>, id: RecordId, why: &str) {
        if let Some(Waiting { letter, .. }) = round.waiting.get(&id) {
            self.metrics.count(letter, "dropped");
            let Letter { gateway, alert, .. } = letter;
            tracing::error!(%gateway, %alert, why, "an alert was given up");
        }
        self.forget(round, id).await;
    }

    /// Nothing more is to be done for a letter.
    async fn forget<P: Post>(self: &Arc<Self>, round: &mut Round<P>, id: RecordId) {
        round.waiting.remove(&id);
        self.tell_waiting(round);
        let alerts = Arc::clone(self);
        match spawn_blocking(move || alerts.parts.outbox.remove(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "an alert will be sent once more"),
            Err(error) => tracing::error!(%error, "forgetting an alert failed"),
        }
    }

    fn tell_waiting<P>(&self, round: &Round<P>) {
        let count = i64::try_from(round.waiting.len()).unwrap_or(i64::MAX);
        self.metrics.waiting.set(count);
        let letters = round.waiting.values().map(|one| &one.letter);
        self.watch.lock().count_waiting(letters);
    }
}

/// How long a letter rests after so many tries.
fn wait_after(tries: u32, asked: Option<Duration>) -> Duration {
    let own = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(16));
    let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
    own.min(LONGEST_WAIT).max(asked)
}
