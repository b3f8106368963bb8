//! `kill -9` of the running gateway under load, again and again: what was answered a flush window
//! before is in its store, once, and the store opens and proves itself.
//!
//! Clients choose the ids of their events, so that a record is known without the gateway's help.
//! The store is read by the product's own commands, as an operator would.
//!
//! The window is of time in which the gateway could run: where the machine is busy with others, the
//! time counts for it that its threads were ready and no processor was free, as the kernel tells
//! it. Waiting for a disk or for one another does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::bench::{Connection, Target, through};
use crate::clients::simulate;
use crate::gateway::{self, Profile, Running};
use crate::shell::{self, Scratch};
use crate::starved::{Waits, Watch};

/// How often, and how hard.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often it is killed.
    #[arg(long, default_value_t = 25)]
    rounds: u32,
    /// Longest time of load before a kill, in milliseconds in which the gateway can run; the moment is
    /// random.
    #[arg(long, default_value_t = 900)]
    load_ms: u64,
    /// The gateway's flush window, in milliseconds: what is older must not be lost.
    #[arg(long, default_value_t = 250)]
    window_ms: u64,
    /// Clients at once; every other one asks for streams.
    #[arg(long, default_value_t = 6)]
    clients: usize,
    /// Where the random moments begin.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Kills this binary, instead of one that it builds.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

impl Options {
    /// What CI does.
    pub(crate) const fn short() -> Self {
        Self {
            rounds: 25,
            load_ms: 900,
            window_ms: 250,
            clients: 6,
            seed: 1,
            binary: None,
        }
    }
}

/// Kills of one store before a new one begins: reading all of it stays cheap.
const ROUNDS_PER_STORE: u32 = 10;
/// Within this time of its start the gateway answers.
const RESTART: Duration = Duration::from_secs(2);
/// The thread that writes records.
const WRITER: &str = "records";
/// Longest time of load where the machine is busy with others.
const LONGEST_LOAD: Duration = Duration::from_secs(15);
/// Between two looks at what the gateway's threads wait for.
const LOOK: Duration = Duration::from_millis(5);
/// Between two requests of a client: steady load, not a starved machine.
const PACE: Duration = Duration::from_millis(4);

/// What the rounds came to.
#[derive(Debug, Default)]
struct Summary {
    rounds: u32,
    /// Answers that had arrived wholly.
    answered: usize,
    /// Those of them that were older than the flush window when the kill came.
    due: usize,
    lost: Vec<String>,
    twice: u64,
    /// How often it was killed while it started.
    early: u32,
    restarts: Vec<Duration>,
    /// How long the gateway's threads had no processor, at most, of what was answered.
    starved: Duration,
}

/// Runs the rounds.
///
/// # Errors
/// The gateway does not start or answer; a store cannot be read; a record is lost or there twice;
/// or a restart takes too long.
pub(crate) fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => gateway::build(Profile::Dev)?,
    };
    let scratch = Scratch::new("crash")?;
    let simulator = simulate(&binary, &scratch)?;
    let config = configuration(simulator.address("url")?, options.window_ms);
    let mut chance = Chance(options.seed.max(1));
    let mut summary = Summary::default();
    let mut store = 0;
    while summary.rounds < options.rounds {
        let folder = scratch.file(&format!("store-{store}"));
        std::fs::create_dir_all(&folder)?;
        let rounds = ROUNDS_PER_STORE.min(options.rounds - summary.rounds);
        let crashes = Crashes {
            binary: &binary,
            folder: &folder,
            config: &config,
            options,
        };
        let due = crashes.run(rounds, &mut chance, &mut summary)?;
        crashes.examine(&due, &mut summary)?;
        std::fs::remove_dir_all(&folder)?;
        store += 1;
    }
    simulator.stop()?;
    summary.tell()
}

/// Everything on that opens a file of its own: limits, the cache, the overlay's reader.
fn configuration(simulator: &str, window_ms: u64) -> String {
    format!(
        "[records]\nflush_window = \"{window_ms}ms\"\n\
         [providers.openai]\nbase_url = \"http://{simulator}/v1\"\n\
         [[gateways]]\nid = \"default\"\n\
         [[gateways.limits]]\nid = \"day\"\nunit = \"tokens\"\nlimit = 1_000_000_000\nwindow = \"day\"\n"
    )
}

/// The kills of one store.
struct Crashes<'a> {
    binary: &'a Path,
    folder: &'a Path,
    config: &'a str,
    options: &'a Options,
}

impl Crashes<'_> {
    /// Starts, loads and kills, `rounds` times. Returns the events that must be on record.
    fn run(
        &self,
        rounds: u32,
        chance: &mut Chance,
        summary: &mut Summary,
    ) -> Result<BTreeMap<String, Age>> {
        let mut due = BTreeMap::new();
        for _ in 0..rounds {
            let round = summary.rounds;
            // Now and then it does not come to answering.
            if round > 0 && chance.below(5) == 0 {
                self.kill_early(Duration::from_millis(chance.below(60)))?;
                summary.early += 1;
            }
            let begun = Instant::now();
            let isango = gateway::serve(self.binary, &[], self.folder, self.config)?;
            let target = through(&isango)?;
            let first = format!("r{round}-first");
            Connection::open(target.addr)?.exchange(&ask(&target, &first, false))?;
            let restart = begun.elapsed();
            let is_first = |id, _: &str| id == isango.id();
            let starved = Waits::of(isango.id()).since(&Waits::default(), is_first);
            summary.restarts.push(restart.saturating_sub(starved));
            let load = Duration::from_millis(chance.below(self.options.load_ms));
            let answered = self.load(isango, &target, (round, load))?;
            summary.answered += answered.len();
            let window = Duration::from_millis(self.options.window_ms);
            for (event, age) in answered {
                summary.starved = summary.starved.max(age.starved);
                if age.time.saturating_sub(age.starved) > window {
                    due.insert(event, age);
                }
            }
            summary.rounds += 1;
            if summary.rounds.is_multiple_of(50) {
                println!("{} rounds", summary.rounds);
            }
        }
        summary.due += due.len();
        Ok(due)
    }

    /// Starts it and kills it before it may have listened.
    fn kill_early(&self, after: Duration) -> Result<()> {
        let mut command = Command::new(self.binary);
        command.arg("serve").arg("--config");
        command
            .arg(self.folder.join("isango.toml"))
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        std::thread::sleep(after);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Lets clients ask for so long, and kills. Returns how long before each answer had wholly
    /// arrived.
    fn load(
        &self,
        isango: Running,
        target: &Target,
        (round, time): (u32, Duration),
    ) -> Result<BTreeMap<String, Age>> {
        let answered = Mutex::new(BTreeMap::new());
        let killing = AtomicBool::new(false);
        let process = isango.id();
        let (killed, last, watch) = std::thread::scope(|scope| {
            let running: Vec<_> = (0..self.options.clients)
                .map(|client| {
                    let (answered, killing) = (&answered, &killing);
                    scope.spawn(move || {
                        let name = format!("r{round}-c{client}");
                        let asked = ask_until_killed(target, &name, client % 2 == 1, answered);
                        // Before the kill nothing may break.
                        match asked {
                            Err(error) if !killing.load(Ordering::SeqCst) => Err(error),
                            Ok(()) | Err(_) => Ok(()),
                        }
                    })
                })
                .collect();
            let watching = scope.spawn(|| watch(process, &killing));
            sleep_while_it_runs(process, time);
            killing.store(true, Ordering::SeqCst);
            let last = Waits::of(process);
            let killed = Instant::now();
            // Dropping it is `kill -9`.
            drop(isango);
            for thread in running {
                match thread.join() {
                    Ok(result) => result.with_context(|| format!("round {round}"))?,
                    Err(_panic) => bail!("a client panicked"),
                }
            }
            let watch = watching.join().unwrap_or_default();
            anyhow::Ok((killed, last, watch))
        })?;
        let answered = answered
            .into_inner()
            .unwrap_or_else(|broken| broken.into_inner());
        let ages = answered.into_iter().map(|(event, at)| {
            let age = Age {
                time: killed.saturating_duration_since(at),
                starved: last.since(&watch.at(at), is_writer),
            };
            (event, age)
        });
        Ok(ages.collect())
    }

    /// Reads the store after the last kill: it opens, proves itself, and has what is due, once.
    fn examine(&self, due: &BTreeMap<String, Age>, summary: &mut Summary) -> Result<()> {
        // The last kill's end is repaired as any other: by a start, which then ends in good order.
        gateway::serve(self.binary, &[], self.folder, self.config)?.stop()?;
        let data = self.folder.join("data");
        let of_store = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new(self.binary);
            shell::output(command.args(arguments).arg("--data-dir").arg(&data))
        };
        let report: Report = serde_json::from_str(&of_store(&["audit", "verify", "--json"])?)?;
        let mut stored = BTreeSet::new();
        for line in of_store(&["logs", "export", "--format", "jsonl"])?.lines() {
            let record: Stored = serde_json::from_str(line)?;
            stored.insert(record.event_id.unwrap_or(record.id));
        }
        let lost = due.iter().filter(|(event, _)| !stored.contains(*event));
        let lost = lost.map(|(event, age)| {
            let [time, starved] = [age.time, age.starved].map(|time| time.as_millis());
            format!("{event}, {time} ms old, {starved} of them without a processor")
        });
        summary.lost.extend(lost);
        // The export has each id once, the journal as often as it was written.
        summary.twice += report.records - stored.len() as u64;
        ensure!(report.dropped == 0, "{} were dropped", report.dropped);
        Ok(())
    }
}

/// What `isango audit verify` tells; it fails where it finds anything.
#[derive(Debug, Deserialize)]
struct Report {
    records: u64,
    dropped: u64,
}

#[derive(Debug, Deserialize)]
struct Stored {
    id: String,
    event_id: Option<String>,
}

/// How long before the kill an answer had arrived, and how much of that the gateway could not run.
#[derive(Clone, Copy, Debug)]
struct Age {
    time: Duration,
    starved: Duration,
}

/// Waits until the gateway had so much time in which it could run; no longer than [`LONGEST_LOAD`].
fn sleep_while_it_runs(process: u32, time: Duration) {
    let (begun, before) = (Instant::now(), Waits::of(process));
    let mut left = time;
    while !left.is_zero() && begun.elapsed() < LONGEST_LOAD {
        std::thread::sleep(left);
        let starved = Waits::of(process).since(&before, is_writer);
        left = (time + starved).saturating_sub(begun.elapsed());
    }
}

fn is_writer(_: u32, name: &str) -> bool {
    name == WRITER
}

/// Looks at the gateway's threads until the kill.
fn watch(process: u32, killing: &AtomicBool) -> Watch {
    let mut watch = Watch::default();
    while !killing.load(Ordering::SeqCst) {
        watch.look(process);
        std::thread::sleep(LOOK);
    }
    watch
}

/// Asks on one connection until it breaks, and takes note of each whole answer.
fn ask_until_killed(
    target: &Target,
    name: &str,
    streams: bool,
    answered: &Mutex<BTreeMap<String, Instant>>,
) -> Result<()> {
    let mut connection = Connection::open(target.addr)?;
    for n in 0_u32.. {
        let event = format!("{name}-{n}");
        connection.exchange(&ask(target, &event, streams))?;
        let mut answered = answered.lock().unwrap_or_else(|broken| broken.into_inner());
        answered.insert(event, Instant::now());
        drop(answered);
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// A question whose record has this event id.
fn ask(target: &Target, event: &str, streams: bool) -> Vec<u8> {
    let body = format!(
        r#"{{"model":"gpt-4o-mini","stream":{streams},"messages":[{{"role":"user","content":"Event {event}: which way does the gate open?"}}]}}"#
    );
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer sk-crash-0123456789abcdef\r\n\
         content-type: application/json\r\ncf-aig-event-id: {event}\r\ncontent-length: {}\r\n\r\n",
        target.path,
        target.addr,
        body.len()
    );
    [head, body].concat().into_bytes()
}

impl Summary {
    /// Prints what happened.
    ///
    /// # Errors
    /// What happened must not.
    fn tell(&self) -> Result<()> {
        let worst = self.restarts.iter().max().copied().unwrap_or_default();
        let mut sorted = self.restarts.clone();
        sorted.sort();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        println!(
            "crash: {} rounds ({} more killed while starting), {} answers, {} of them due; lost {}, \
             twice {}; restart to first answer: median {} ms, worst {} ms; its \
             threads waited up to {} ms for a processor",
            self.rounds,
            self.early,
            self.answered,
            self.due,
            self.lost.len(),
            self.twice,
            median.as_millis(),
            worst.as_millis(),
            self.starved.as_millis()
        );
        ensure!(self.lost.is_empty(), "lost: {:?}", self.lost);
        ensure!(self.twice == 0, "{} records are there twice", self.twice);
        ensure!(worst <= RESTART, "a restart took {worst:?}");
        ensure!(
            self.due >= usize::try_from(self.rounds)?,
            "{} answers are too few to prove anything",
            self.due
        );
        Ok(())
    }
}

/// xorshift64*: the same moments for the same seed.
struct Chance(u64);

impl Chance {
    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16) % end.max(1)
    }
}
