//! The wakers of each registered descriptor.

use std::task::Waker;

use super::Direction;

/// Names a slot and one use of it: events of a descriptor that is gone name a use that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token {
    index: u32,
    generation: u32,
}

impl Token {
    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_u64(value: u64) -> Token {
        Token { index: value as u32, generation: (value >> 32) as u32 }
    }
}

/// A waker for each direction: read, write.
pub(super) type Wakers = [Option<Waker>; 2];

/// What an event says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Happened {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Nothing will come any more but what is there, and the end.
    pub(super) ended: bool,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    wakers: Wakers,
    // All was read that there was, and no event has come since.
    empty: bool,
    ended: bool,
}

#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slots {
    /// A token for a new descriptor. `None` when there are as many as can be named; the limit of the process's open
    /// descriptors is far below.
    pub(super) fn add(&mut self) -> Option<Token> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                // The highest index is left out so that no token is all ones.
                let index = u32::try_from(self.slots.len()).ok().filter(|&index| index < u32::MAX)?;
                self.slots.push(Slot::default());
                index
            }
        };
        let generation = self.slots.get(index as usize)?.generation;
        Some(Token { index, generation })
    }

    /// Ends the use that `token` names; its wakers come back.
    pub(super) fn remove(&mut self, token: Token) -> Wakers {
        let Some(slot) = self.slot(token) else { return Wakers::default() };
        let unused = Slot { generation: slot.generation.wrapping_add(1), ..Slot::default() };
        let wakers = std::mem::replace(slot, unused).wakers;
        self.free.push(token.index);
        wakers
    }

    /// Keeps `waker`. The one before it comes back when it would wake another task.
    pub(super) fn keep(&mut self, token: Token, direction: Direction, waker: &Waker) -> Option<Waker> {
        let place = self.slot(token)?.wakers.get_mut(direction as usize)?;
        if place.as_ref().is_some_and(|kept| kept.will_wake(waker)) {
            return None;
        }
        place.replace(waker.clone())
    }

    /// Takes the wakers of the directions in which something happened.
    pub(super) fn take(&mut self, token: Token, happened: Happened) -> Wakers {
        let Some(slot) = self.slot(token) else { return Wakers::default() };
        slot.empty &= !happened.readable;
        slot.ended |= happened.ended;
        let [read, write] = &mut slot.wakers;
        [read.take_if(|_| happened.readable), write.take_if(|_| happened.writable)]
    }

    /// All was read that there was. Of one whose end has been seen that is never said: the end is still there to be read.
    pub(super) fn set_empty(&mut self, token: Token) {
        if let Some(slot) = self.slot(token) {
            slot.empty = !slot.ended;
        }
    }

    /// Whether all was read and nothing has come since.
    pub(super) fn is_empty(&mut self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| slot.empty)
    }

    /// As [`is_empty`](Slots::is_empty). It is said once: who asks again is to look.
    pub(super) fn take_empty(&mut self, token: Token) -> bool {
        self.slot(token).is_some_and(|slot| std::mem::take(&mut slot.empty))
    }

    /// Takes all wakers.
    pub(super) fn take_all(&mut self) -> Vec<Waker> {
        self.slots.iter_mut().flat_map(|slot| &mut slot.wakers).filter_map(Option::take).collect()
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        self.slots.get_mut(token.index as usize).filter(|slot| slot.generation == token.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_one_use_of_a_slot() {
        let mut slots = Slots::default();
        let first = slots.add().expect("there is room");
        assert_eq!(Token::from_u64(first.to_u64()), first);
        assert!(slots.keep(first, Direction::Write, Waker::noop()).is_none());
        assert!(slots.remove(first)[Direction::Write as usize].is_some());
        let second = slots.add().expect("there is room");
        assert_eq!((first.index, first.generation + 1), (second.index, second.generation));
        assert!(slots.keep(second, Direction::Read, Waker::noop()).is_none());
        let (readable, writable) =
            (Happened { readable: true, ..Happened::default() }, Happened { writable: true, ..Happened::default() });
        assert!(slots.take(first, readable).iter().all(Option::is_none));
        assert!(slots.take(second, writable).iter().all(Option::is_none));
        assert!(slots.take(second, readable)[Direction::Read as usize].is_some());
    }

    #[test]
    fn what_is_empty_is_so_until_something_comes() {
        let mut slots = Slots::default();
        let token = slots.add().expect("there is room");
        assert!(!slots.take_empty(token));
        slots.set_empty(token);
        assert!(slots.take_empty(token) && !slots.take_empty(token));
        slots.set_empty(token);
        slots.take(token, Happened { writable: true, ..Happened::default() });
        slots.take(token, Happened { readable: true, ..Happened::default() });
        assert!(!slots.take_empty(token));
        slots.take(token, Happened { readable: true, ended: true, ..Happened::default() });
        slots.set_empty(token);
        assert!(!slots.take_empty(token), "the end could be waited for");
        slots.remove(token);
        let next = slots.add().expect("there is room");
        slots.set_empty(next);
        assert!(slots.take_empty(next), "another descriptor has not ended");
    }
}
