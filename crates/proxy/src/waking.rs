//! Wake-ups of a task by itself: those that come from the inside of a poll, and ask for what that
//! poll does anyway.
//!
//! hyper's connections and their bodies tell each other of news by waking the task that polls them.
//! Where both are polled by one task, most of these calls would only make the runtime poll it once
//! more for nothing. [`Waking`] stands between: during a poll, calls from the same thread, which can
//! only come from the code that is being polled, are noted; all others go to the task at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::Mutex;

/// No poll is under way. No thread's mark has this value.
const OUTSIDE: usize = 0;
/// Beside the mark of the thread that polls: it was called for since.
const CALLED: usize = 1;

thread_local! {
    /// Its address marks the thread; even, since it is aligned.
    static MARK: u64 = const { 0 };
}

/// The mark of this thread.
fn here() -> usize {
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// Passes wake-ups on to a task, but for those from the inside of a poll.
#[derive(Debug)]
pub(crate) struct Waking {
    state: AtomicUsize,
    task: Mutex<Waker>,
}

impl Default for Waking {
    fn default() -> Self {
        Self {
            state: AtomicUsize::new(OUTSIDE),
            task: Mutex::new(Waker::noop().clone()),
        }
    }
}

impl Waking {
    /// A poll by `task` begins, on this thread.
    pub(crate) fn enter(&self, task: &Waker) {
        let mut known = self.task.lock();
        if !known.will_wake(task) {
            known.clone_from(task);
        }
        drop(known);
        self.state.store(here(), Ordering::Release);
    }

    /// What was called for so far is about to be looked at.
    pub(crate) fn forget(&self) {
        self.state.store(here(), Ordering::Release);
    }

    /// Lets wake-ups through again; whether one was noted.
    pub(crate) fn leave(&self) -> bool {
        self.state.swap(OUTSIDE, Ordering::AcqRel) & CALLED == CALLED
    }

    /// No task is to be woken any more.
    pub(crate) fn retire(&self) {
        *self.task.lock() = Waker::noop().clone();
    }

    /// Polls with `waker`, which is this as a waker, in the place of the task's own.
    pub(crate) fn around<T>(
        &self,
        waker: &Waker,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.enter(cx.waker());
        let polled = poll(&mut Context::from_waker(waker));
        if self.leave() && polled.is_pending() {
            cx.waker().wake_by_ref();
        }
        polled
    }

    /// Does `work`, of which a call for this task is known to ask for nothing.
    pub(crate) fn deaf_to<T>(
        &self,
        work: impl FnOnce() -> T,
        is_idle_call: impl FnOnce(&T) -> bool,
    ) -> T {
        let before = self.state.load(Ordering::Acquire);
        let done = work();
        if before == here() && is_idle_call(&done) {
            self.state.store(before, Ordering::Release);
        }
        done
    }
}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let here = here();
        let noted =
            self.state
                .compare_exchange(here, here | CALLED, Ordering::AcqRel, Ordering::Acquire);
        if noted.is_err_and(|state| state != here | CALLED) {
            self.task.lock().wake_by_ref();
        }
    }
}

/// Wakes the task of a [`Waking`] for what rarely has news, and tells whether it has: the task asks
/// the bell at each of its polls, and what hangs on it only when it rang.
#[derive(Debug)]
pub(crate) struct Bell {
    rung: AtomicBool,
    task: Arc<Waking>,
}

impl Bell {
    /// A bell that has not rung yet.
    pub(crate) fn new(task: &Arc<Waking>) -> Self {
        Self {
            rung: AtomicBool::new(false),
            task: Arc::clone(task),
        }
    }

    /// Notes that there is something to ask for, without waking the task.
    pub(crate) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
    }

    /// Whether it has rung since the last question.
    pub(crate) fn has_rung(&self) -> bool {
        // A read is cheaper than a swap, and a ring behind it wakes the task again.
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
        self.task.task.lock().wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicU32);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often the task is woken by a poll that ends with `polled`, after `inside` was done in it.
    fn calls(polled: Poll<()>, inside: impl FnOnce(&Waking, &Waker)) -> u32 {
        let calls = Arc::new(Calls::default());
        let task = Waker::from(Arc::clone(&calls));
        let waking = Arc::new(Waking::default());
        let waker = Waker::from(Arc::clone(&waking));
        let _polled = waking.around(&waker, &mut Context::from_waker(&task), |cx| {
            inside(&waking, cx.waker());
            polled
        });
        calls.0.load(Ordering::Relaxed)
    }

    #[test]
    fn calls_from_the_inside_are_one_or_none() {
        assert_eq!(calls(Poll::Pending, |_, _| {}), 0);
        let twice = |_: &Waking, waker: &Waker| {
            waker.wake_by_ref();
            waker.wake_by_ref();
        };
        assert_eq!(calls(Poll::Pending, twice), 1);
        assert_eq!(calls(Poll::Ready(()), twice), 0);
    }

    #[test]
    fn calls_of_another_thread_go_to_the_task() {
        let elsewhere = |_: &Waking, waker: &Waker| {
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake_by_ref());
            });
        };
        assert_eq!(calls(Poll::Pending, elsewhere), 1);
        assert_eq!(calls(Poll::Ready(()), elsewhere), 1);
    }

    #[test]
    fn an_idle_call_is_passed_over_and_no_other() {
        let idle = |waking: &Waking, waker: &Waker| {
            waking.deaf_to(|| waker.wake_by_ref(), |()| true);
        };
        assert_eq!(calls(Poll::Pending, idle), 0);
        let not_idle = |waking: &Waking, waker: &Waker| {
            waking.deaf_to(|| waker.wake_by_ref(), |()| false);
        };
        assert_eq!(calls(Poll::Pending, not_idle), 1);
        let after_another = |waking: &Waking, waker: &Waker| {
            waker.wake_by_ref();
            idle(waking, waker);
        };
        assert_eq!(calls(Poll::Pending, after_another), 1);
    }

    #[test]
    fn outside_of_a_poll_the_task_is_woken() {
        let calls = Arc::new(Calls::default());
        let waking = Arc::new(Waking::default());
        waking.enter(&Waker::from(Arc::clone(&calls)));
        waking.leave();
        waking.deaf_to(|| Waker::from(Arc::clone(&waking)).wake(), |()| true);
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        waking.retire();
        Waker::from(waking).wake();
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_bell_wakes_the_task_and_is_asked_once() {
        let calls = Arc::new(Calls::default());
        let waking = Arc::new(Waking::default());
        waking.enter(&Waker::from(Arc::clone(&calls)));
        let bell = Arc::new(Bell::new(&waking));
        assert!(!bell.has_rung());
        // Also in the middle of a poll, for which this would be nothing new of its own.
        Waker::from(Arc::clone(&bell)).wake();
        assert_eq!(calls.0.load(Ordering::Relaxed), 1);
        assert!(bell.has_rung());
        assert!(!bell.has_rung());
    }
}
