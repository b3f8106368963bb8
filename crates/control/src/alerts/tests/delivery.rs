//! Delivery, under paused time.

use std::collections::VecDeque;

use axum::http::StatusCode;
use isango_store::logs::LogWriter as _;
use isango_store::memory::MemoryLogs;
use isango_store::outbox::{Error as OutboxError, Put};
use tokio::sync::{mpsc, watch};

use super::*;

/// A webhook that answers as it is told, and tells what it was sent.
struct Script {
    answers: Mutex<VecDeque<Result<Posted, String>>>,
    sent: mpsc::Sender<(tokio::time::Instant, Message)>,
}

impl Post for Script {
    async fn post(&self, webhook: &Webhook, message: Message) -> Result<Posted, String> {
        assert_eq!(webhook.path.expose(), "/secret");
        self.sent
            .try_send((tokio::time::Instant::now(), message))
            .unwrap();
        let next = self.answers.lock().pop_front();
        next.unwrap_or_else(|| posted(200, None))
    }
}

fn posted(status: u16, retry_after_s: Option<u64>) -> Result<Posted, String> {
    Ok(Posted {
        status: StatusCode::from_u16(status).unwrap(),
        retry_after: retry_after_s.map(Duration::from_secs),
        text: String::new(),
    })
}

/// Runs until so many messages were sent and the outbox is empty; the seconds between them, and
/// the last.
async fn deliver(
    world: &World,
    alerts: &Arc<Alerts>,
    answers: Vec<Result<Posted, String>>,
    count: usize,
) -> (Vec<u64>, Message) {
    let (sent, mut received) = mpsc::channel(64);
    let script = Script {
        answers: Mutex::new(answers.into()),
        sent,
    };
    let (stop, stopping) = watch::channel(false);
    let logs = Arc::new(MemoryLogs::default());
    logs.append(&[of_tenant("acme", Verdict::Admitted, NOW)])
        .unwrap();
    let running = Arc::clone(alerts).run(script, logs, stopping);
    let watching = async {
        let (mut waits, mut last) = (Vec::new(), tokio::time::Instant::now());
        let mut message = None;
        for _ in 0..count {
            let (at, sent) = received.recv().await.unwrap();
            waits.push((at - last).as_secs());
            last = at;
            message = Some(sent);
        }
        while !world.outbox.waiting().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        stop.send_replace(true);
        (waits, message.unwrap())
    };
    tokio::join!(running, watching).1
}

fn header<'m>(message: &'m Message, name: &str) -> &'m str {
    message.headers[name].to_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_letter_is_sent_until_it_is_taken() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    let answers = vec![
        Err("connect_failed".into()),
        posted(503, None),
        posted(302, None),
        posted(429, Some(40)),
        posted(500, None),
    ];
    let (waits, message) = deliver(&world, &alerts, answers, 6).await;
    assert_eq!(waits, [0, 1, 2, 4, 40, 16]);
    let event: Event = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(header(&message, "isango-alert-id"), event.id.to_string());
    assert_eq!(header(&message, "isango-timestamp"), "1795384800");
    assert!(header(&message, "isango-signature").starts_with("v1="));
    let top = &event.limit.unwrap().top_models;
    assert_eq!((top.len(), top[0].drawn), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_for_a_day_is_given_up() {
    let world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    world.clock.set(NOW.plus(DAY));
    let (waits, _) = deliver(&world, &alerts, vec![posted(404, None)], 1).await;
    assert_eq!(waits, [0]);
}

/// An outbox that cannot be written, or read, so often at first.
struct Failing(MemoryOutbox, Mutex<u32>, Mutex<u32>);

impl Outbox for Failing {
    fn put(&self, letters: &[Letter]) -> Result<Put, OutboxError> {
        let mut left = self.1.lock();
        if *left == 0 {
            return self.0.put(letters);
        }
        *left -= 1;
        Err(OutboxError("the disk is full".into()))
    }

    fn waiting(&self) -> Result<Vec<Letter>, OutboxError> {
        let mut left = self.2.lock();
        if *left == 0 {
            return self.0.waiting();
        }
        *left -= 1;
        Err(OutboxError("the disk is slow".into()))
    }

    fn remove(&self, id: RecordId) -> Result<(), OutboxError> {
        self.0.remove(id)
    }

    fn taken(&self, now: Timestamp) -> Result<Vec<(Box<str>, Timestamp)>, OutboxError> {
        self.0.taken(now)
    }
}

#[tokio::test(start_paused = true)]
async fn a_letter_waits_for_an_outbox_that_fails() {
    let mut world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    world.outbox = Arc::new(Failing(
        MemoryOutbox::default(),
        Mutex::new(3),
        Mutex::new(0),
    ));
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    let (waits, _) = deliver(&world, &alerts, Vec::new(), 1).await;
    assert_eq!(waits, [3]);
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_is_read_again_until_it_can_be() {
    let mut world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let outbox = Arc::new(Failing(
        MemoryOutbox::default(),
        Mutex::new(0),
        Mutex::new(0),
    ));
    world.outbox = Arc::clone(&outbox) as _;
    let earlier = world.start();
    world.set("acme", 400);
    earlier.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    earlier.persist();
    *outbox.2.lock() = 3;
    let alerts = world.start();
    let (waits, _) = deliver(&world, &alerts, Vec::new(), 1).await;
    assert_eq!(waits, [1 + 2 + 4]);
}

#[tokio::test(start_paused = true)]
async fn a_letter_whose_alert_is_gone_is_given_up() {
    let mut world = World::new(vec![drawn_alert(&daily(), 80, false)]);
    let alerts = world.start();
    world.set("acme", 400);
    alerts.observe(&[of_tenant("acme", Verdict::Admitted, NOW)]);
    alerts.persist();
    assert_eq!(told(&world).len(), 1);
    world.gateway = gateway(vec![failing(50)]);
    let alerts = world.start();
    alerts.observe(&vec![request(Some(Blame::Upstream), Outcome::Failed); 10]);
    let (_, message) = deliver(&world, &alerts, Vec::new(), 1).await;
    let event: Event = serde_json::from_slice(&message.body).unwrap();
    assert_eq!(&*event.alert, "failing");
}
