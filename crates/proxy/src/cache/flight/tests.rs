use std::future::poll_fn;

use isango_store::cache::Answer;
use isango_store::conformance::entry;
use isango_types::Timestamp;
use isango_types::policy::Replay;
use proptest::prelude::*;

use super::super::playback::Playback;
use super::*;

/// An answer of these frames, each a millisecond after the one before.
fn source(frames: &[Bytes]) -> Source {
    let mut kept = entry(1);
    kept.answer = Answer {
        times_us: (0..).step_by(1_000).take(frames.len()).collect(),
        frames: frames.to_vec(),
        is_chunked: true,
        ..Answer::default()
    };
    Source::Cached(Box::new(Playback::of(Arc::new(kept), Replay::Recorded)))
}

fn frames(count: usize, length: usize) -> Vec<Bytes> {
    let frame = |n: usize| Bytes::from(vec![u8::try_from(n % 251).unwrap(); length]);
    (0..count).map(frame).collect()
}

fn head() -> Head {
    Head {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        length: None,
        has_guest: false,
        paid_by: RecordId::new(Timestamp::from_micros(1)),
    }
}

/// What a flight came to, as it told its landing.
type Told = Arc<Mutex<Option<Result<Vec<u8>, &'static str>>>>;

fn landing() -> (Told, Landing) {
    let told = Told::default();
    let tells = Arc::clone(&told);
    let landing: Landing = Box::new(move |landed| {
        *tells.lock() = Some(match landed {
            Landed::Whole(frames, times_us) => {
                assert_eq!(frames.len(), times_us.len());
                Ok(frames.concat())
            }
            Landed::NotKept(why) => Err(why),
        });
    });
    (told, landing)
}

struct Started {
    flight: Arc<Flight>,
    leader: Passenger,
    told: Told,
    budget: Arc<Budget>,
}

fn start(source: Source, limit: usize) -> Started {
    let budget = Arc::new(Budget::new(1 << 20));
    let flight = Flight::new(Arc::clone(&budget), 0);
    let (told, landing) = landing();
    let leader = flight.begin(head(), source, limit, landing);
    Started {
        flight,
        leader,
        told,
        budget,
    }
}

async fn next(passenger: &mut Passenger) -> Option<Result<Bytes, BoxError>> {
    let frame = poll_fn(|cx| passenger.poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Everything that is left, and whether it ended as a whole.
async fn rest(mut passenger: Passenger) -> (Vec<u8>, bool) {
    let mut read = Vec::new();
    while let Some(frame) = next(&mut passenger).await {
        match frame {
            Ok(frame) => read.extend_from_slice(&frame),
            Err(_cut) => return (read, false),
        }
    }
    (read, true)
}

#[tokio::test(start_paused = true)]
async fn whoever_boards_before_the_end_reads_it_from_its_first_byte() {
    let frames = frames(20, 10);
    for boards_after in 0..20 {
        let Started {
            flight,
            mut leader,
            told,
            ..
        } = start(source(&frames), 1_000);
        for _ in 0..boards_after {
            next(&mut leader).await.unwrap().unwrap();
        }
        let late = flight.board().unwrap();
        let (mine, theirs) = tokio::join!(rest(leader), rest(late));
        assert_eq!(mine.0, frames[boards_after..].concat());
        assert_eq!(theirs, (frames.concat(), true));
        assert_eq!(told.lock().take(), Some(Ok(frames.concat())));
        // Until it is kept, it is to be had here.
        let last = flight.board().unwrap();
        assert_eq!(rest(last).await, (frames.concat(), true));
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_may_leave_at_any_byte() {
    let frames = frames(20, 10);
    for leaves_after in 0..20 {
        let Started {
            flight,
            mut leader,
            told,
            ..
        } = start(source(&frames), 1_000);
        let others = [(); 3].map(|()| flight.board().unwrap());
        let leaving = async move {
            for _ in 0..leaves_after {
                next(&mut leader).await.unwrap().unwrap();
            }
        };
        let [a, b, c] = others.map(rest);
        let ((), a, b, c) = tokio::join!(leaving, a, b, c);
        for read in [a, b, c] {
            assert_eq!(read, (frames.concat(), true), "{leaves_after}");
        }
        assert_eq!(told.lock().take(), Some(Ok(frames.concat())));
    }
}

#[tokio::test(start_paused = true)]
async fn who_stalls_holds_nobody_and_is_cut_when_it_lags_too_far() {
    let frames = frames(600, 1_000);
    let started = start(source(&frames), 2_000);
    let Started { flight, leader, .. } = started;
    let stalled = leader;
    let reader = flight.board().unwrap();
    assert_eq!(rest(reader).await, (frames.concat(), true));
    let kept: usize = flight.state.lock().frames.iter().map(Bytes::len).sum();
    assert!(kept <= SHORT_WINDOW, "{kept}");
    assert_eq!(rest(stalled).await, (Vec::new(), false));
    let told = started.told.lock().take();
    assert_eq!(told, Some(Err("it is larger than the cache keeps")));
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_to_keep_still_crosses_whole_and_takes_no_memory() {
    let frames = frames(200, 1_000);
    let Started {
        flight,
        mut leader,
        budget,
        ..
    } = start(source(&frames), 5_000);
    for frame in &frames {
        assert_eq!(next(&mut leader).await.unwrap().unwrap(), frame);
        assert!(flight.state.lock().frames.len() <= 6);
    }
    assert!(next(&mut leader).await.is_none());
    assert!(flight.board().is_none());
    drop((flight, leader));
    assert!(budget.take(1 << 20), "all memory was given back");
}

#[tokio::test(start_paused = true)]
async fn when_nobody_is_left_the_provider_is_left_too() {
    let Started {
        flight,
        mut leader,
        told,
        ..
    } = start(source(&frames(5, 10)), 1_000);
    next(&mut leader).await.unwrap().unwrap();
    drop(leader);
    assert!(matches!(flight.state.lock().phase, Phase::Cut));
    assert_eq!(told.lock().take(), Some(Err("the client left")));
    assert!(flight.board().is_none());
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_all_and_is_not_kept() {
    let cut = Source::Seen {
        read: Some(Bytes::from_static(b"half")),
        then: Some(Err("cut".into())),
        rest: None,
    };
    let Started {
        flight,
        leader,
        told,
        ..
    } = start(cut, 1_000);
    let other = flight.board().unwrap();
    assert_eq!(rest(leader).await, (b"half".to_vec(), false));
    assert_eq!(rest(other).await, (b"half".to_vec(), false));
    assert_eq!(told.lock().take(), Some(Err("the provider broke it off")));
}

#[tokio::test]
async fn trailers_reach_everybody_and_the_answer_is_not_kept() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", "1".parse().unwrap());
    let with = Source::Seen {
        read: Some(Bytes::from_static(b"body")),
        then: Some(Ok(Frame::trailers(trailers.clone()))),
        rest: None,
    };
    let Started {
        flight,
        leader,
        told,
        ..
    } = start(with, 1_000);
    let other = flight.board().unwrap();
    for mut passenger in [leader, other] {
        let first = next(&mut passenger).await.unwrap().unwrap();
        assert_eq!(first, "body");
        let last = poll_fn(|cx| passenger.poll_frame(cx)).await.unwrap();
        assert_eq!(last.unwrap().into_trailers().unwrap(), trailers);
        assert!(next(&mut passenger).await.is_none());
    }
    assert_eq!(told.lock().take(), Some(Err("it has trailers")));
}

#[tokio::test]
async fn those_who_wait_are_told_when_there_will_be_no_answer() {
    let flight = Flight::new(Arc::new(Budget::new(100)), 0);
    let waiting = [flight.board().unwrap(), flight.board().unwrap()];
    let heads = async { tokio::join!(waiting[0].head(), waiting[1].head()) };
    let failing = async {
        tokio::task::yield_now().await;
        flight.fail();
    };
    let (heads, ()) = tokio::join!(heads, failing);
    assert!(heads.0.is_none() && heads.1.is_none());
    assert!(flight.board().is_none());
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Board,
    Read(usize),
    Leave(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        1 => Just(Act::Board),
        8 => (0..6_usize).prop_map(Act::Read),
        1 => (0..6_usize).prop_map(Act::Leave),
    ]
}

proptest! {
    /// Whoever comes, reads, stalls or leaves in whatever order: everybody who reads to the end has
    /// read the whole answer, and what is kept is the whole answer.
    #[test]
    fn any_order_of_coming_reading_and_leaving_gives_everybody_the_whole_answer(
        acts in prop::collection::vec(act(), 0..120),
        lengths in prop::collection::vec(0..40_usize, 0..12),
    ) {
        let frames: Vec<Bytes> = lengths.iter().map(|n| Bytes::from(vec![7; *n])).collect();
        let whole = frames.concat();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let Started { flight, leader, told, .. } = start(source(&frames), 1 << 10);
            let mut aboard = vec![(leader, Vec::new())];
            for act in acts {
                match act {
                    Act::Board => aboard.extend(flight.board().map(|new| (new, Vec::new()))),
                    Act::Read(who) if who < aboard.len() => {
                        let (passenger, read) = &mut aboard[who];
                        match next(passenger).await {
                            Some(frame) => read.extend_from_slice(&frame.unwrap()),
                            None => assert_eq!(*read, whole),
                        }
                    }
                    Act::Leave(who) if who < aboard.len() => drop(aboard.swap_remove(who)),
                    Act::Read(_) | Act::Leave(_) => {}
                }
            }
            let is_anybody_left = !aboard.is_empty();
            for (passenger, mut read) in aboard {
                let (more, is_whole) = rest(passenger).await;
                read.extend_from_slice(&more);
                assert!(is_whole && read == whole);
            }
            if let Some(Ok(kept)) = told.lock().take() {
                assert_eq!(kept, whole);
            } else {
                assert!(!is_anybody_left, "whoever reads to the end lets it be kept");
            }
        });
    }
}
