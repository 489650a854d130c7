//! Questions under way. A question that several tasks have at the same time is asked once: the others wait for the answer of
//! the first. That saves packets, and it is what RFC 5452 (section 5) asks for: each copy of an open question is one more
//! chance for a forged answer.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::task::{Poll, Waker};

use super::cache::Known;
use super::error::LookupError;
use super::message::Question;
use crate::cell::RefCell;

/// Different questions that may be under way at once.
pub const MOST: usize = 64;

/// What comes of a question.
pub type Outcome = Result<Known, LookupError>;

/// All questions under way.
#[derive(Default)]
pub struct Flights {
    list: RefCell<Vec<Rc<Flight>>>,
}

/// A question under way.
struct Flight {
    question: Question,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    /// The task that asks has ended, with this or without an outcome.
    done: Option<Option<Outcome>>,
    waiting: Vec<Waker>,
}

/// What a task is to do about its question.
pub enum Role<'a> {
    /// Ask it.
    Lead(Lead<'a>),
    /// Wait for the one that asks.
    Follow(Follow),
}

impl Flights {
    /// What to do about `question`; `None` when there is no room for another one.
    pub fn join(&self, question: &Question) -> Option<Role<'_>> {
        let mut list = self.list.borrow_mut();
        if let Some(flight) = list.iter().find(|flight| flight.question == *question) {
            return Some(Role::Follow(Follow(Rc::clone(flight))));
        }
        if list.len() >= MOST {
            return None;
        }
        let flight = Rc::new(Flight { question: question.clone(), state: RefCell::default() });
        list.push(Rc::clone(&flight));
        Some(Role::Lead(Lead { flights: self, flight, outcome: None }))
    }
}

/// The one that asks. Dropping it lets the others know.
pub struct Lead<'a> {
    flights: &'a Flights,
    flight: Rc<Flight>,
    outcome: Option<Outcome>,
}

impl Lead<'_> {
    /// The question was answered, or can't be.
    pub fn finish(mut self, outcome: Outcome) -> Outcome {
        self.outcome = Some(outcome.clone());
        outcome
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.flights.list.borrow_mut().retain(|flight| !Rc::ptr_eq(flight, &self.flight));
        let waiting = {
            let mut state = self.flight.state.borrow_mut();
            state.done = Some(self.outcome.take());
            core::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// One that waits.
pub struct Follow(Rc<Flight>);

impl Follow {
    /// The outcome, or `None` when the task that asked was stopped.
    pub async fn outcome(&self) -> Option<Outcome> {
        poll_fn(|context| {
            let mut state = self.0.state.borrow_mut();
            match &state.done {
                Some(outcome) => Poll::Ready(outcome.clone()),
                None => {
                    if !state.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                        state.waiting.push(context.waker().clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}
