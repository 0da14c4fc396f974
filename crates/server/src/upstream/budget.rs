//! How many tries of a group may be repetitions (`proxy_retry_budget`).
//!
//! Where a group is in trouble, each request that is tried again makes the trouble worse. So repetitions may
//! be a share of the requests of the last seconds, counted over all workers, and a few beside that.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::upstream::clock::now_ms;
use crate::upstream::zone::{BUDGET_REFUSED, BUDGET_REQUESTS, BUDGET_RETRIES, BUDGET_SPAN, Row};

/// What is counted is of this span, and of the one before.
const SPAN_MS: u64 = 5000;

/// `proxy_retry_budget`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetryBudget {
    /// Repetitions in a hundred requests.
    pub(crate) percent: u64,
    /// So many there may be in any case.
    pub(crate) min: u64,
}

/// What there is of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetReport {
    /// Repetitions in a hundred requests.
    pub percent: u64,
    /// So many there may be in any case.
    pub min: u64,
    /// Requests of the last five to ten seconds.
    pub requests: u64,
    /// Repetitions among the tries of that time.
    pub retries: u64,
    /// Repetitions that there were none left for, since the group is there.
    pub refused: u64,
}

/// A budget and what is spent of it.
pub(crate) struct Budget {
    rule: RetryBudget,
    row: Row,
}

impl Budget {
    pub(super) fn new(rule: RetryBudget, row: Row) -> Self {
        Self { rule, row }
    }

    /// A request is about to be tried for the first time.
    pub(crate) fn note_request(&self) {
        self.turn(now_ms());
        self.row.word(BUDGET_REQUESTS[0]).fetch_add(1, Relaxed);
    }

    /// Spends a repetition; false where none is left.
    pub(crate) fn spend(&self) -> bool {
        self.turn(now_ms());
        let retries = self.row.word(BUDGET_RETRIES[0]);
        let before = self.row.word(BUDGET_RETRIES[1]).load(Relaxed);
        let share = self.requests().saturating_mul(self.rule.percent) / 100;
        let most = share.max(self.rule.min);
        let spent = retries.fetch_update(Relaxed, Relaxed, |now| {
            (now.saturating_add(before) < most).then_some(now + 1)
        });
        if spent.is_err() {
            self.row.word(BUDGET_REFUSED).fetch_add(1, Relaxed);
        }
        spent.is_ok()
    }

    fn requests(&self) -> u64 {
        self.sum(BUDGET_REQUESTS)
    }

    fn sum(&self, words: [usize; 2]) -> u64 {
        let load = |word| self.row.word(word).load(Relaxed);
        load(words[0]).saturating_add(load(words[1]))
    }

    /// Begins another span where it is time. Whoever is the first does it; a count that comes meanwhile may
    /// be lost, which is as well.
    fn turn(&self, now_ms: u64) {
        let span = now_ms / SPAN_MS;
        let word = self.row.word(BUDGET_SPAN);
        let known = word.load(Relaxed);
        let is_mine = known < span && word.compare_exchange(known, span, Relaxed, Relaxed).is_ok();
        if !is_mine {
            return;
        }
        let shift = |[now, before]: [usize; 2]| {
            let taken = self.row.word(now).swap(0, Relaxed);
            let is_next = known + 1 == span;
            let kept: &AtomicU64 = self.row.word(before);
            kept.store(if is_next { taken } else { 0 }, Relaxed);
        };
        shift(BUDGET_REQUESTS);
        shift(BUDGET_RETRIES);
    }

    pub(super) fn report(&self) -> BudgetReport {
        self.turn(now_ms());
        BudgetReport {
            percent: self.rule.percent,
            min: self.rule.min,
            requests: self.requests(),
            retries: self.sum(BUDGET_RETRIES),
            refused: self.row.word(BUDGET_REFUSED).load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(percent: u64, min: u64) -> Budget {
        Budget::new(RetryBudget { percent, min }, Row::own())
    }

    fn on_loop(test: impl FnOnce() + 'static) {
        let event_loop = revolve_reactor::EventLoop::new();
        event_loop.unwrap().block_on(async { test() });
    }

    #[test]
    fn repetitions_are_a_share_of_requests_and_a_few_in_any_case() {
        on_loop(|| {
            let budget = budget(20, 3);
            let spent = |budget: &Budget| (0..1000).filter(|_| budget.spend()).count();
            assert_eq!(spent(&budget), 3);
            for _ in 0..100 {
                budget.note_request();
            }
            // The span may end in between; what is spent of it then counts for one more.
            let report = budget.report();
            assert!(report.requests <= 100 && report.retries <= 3, "{report:?}");
            assert_eq!(spent(&budget) as u64 + report.retries, 20);
            assert!(budget.report().refused >= 1900);
        });
    }

    #[test]
    fn what_lies_long_ago_counts_no_more() {
        on_loop(|| {
            let budget = budget(50, 0);
            let now = now_ms();
            budget.turn(now);
            budget.row.word(BUDGET_REQUESTS[0]).store(10, Relaxed);
            budget.row.word(BUDGET_RETRIES[0]).store(4, Relaxed);
            budget.turn(now + SPAN_MS);
            assert_eq!((budget.requests(), budget.sum(BUDGET_RETRIES)), (10, 4));
            budget.turn(now + 2 * SPAN_MS);
            assert_eq!((budget.requests(), budget.sum(BUDGET_RETRIES)), (0, 0));
            budget.row.word(BUDGET_REQUESTS[0]).store(10, Relaxed);
            budget.turn(now + 9 * SPAN_MS);
            assert_eq!(budget.requests(), 0);
        });
    }
}
