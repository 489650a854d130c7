//! What vectors can do without a panic: the texts of those in the standard library would be in every image.

use alloc::vec::Vec;

/// Forgets the first `count` elements.
pub(crate) fn forget_first(bytes: &mut Vec<u8>, count: usize) {
    let mut index = 0;
    bytes.retain(|_| {
        index += 1;
        index > count
    });
}

/// Takes out the element at `index`, if there is one; the last one moves to its place.
pub(crate) fn take_swapped<T>(list: &mut Vec<T>, index: usize) -> Option<T> {
    let last = list.len().checked_sub(1)?;
    if index > last {
        return None;
    }
    list.swap(index, last);
    list.pop()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten_is_the_beginning() {
        for count in 0..6 {
            let mut bytes = Vec::from([0, 1, 2, 3]);
            forget_first(&mut bytes, count);
            assert_eq!(bytes, [0, 1, 2, 3].get(count..).unwrap_or_default());
        }
    }

    #[test]
    fn the_last_one_fills_the_gap() {
        let mut list = Vec::from([0, 1, 2, 3]);
        assert_eq!((take_swapped(&mut list, 1), &*list), (Some(1), &[0, 3, 2][..]));
        assert_eq!((take_swapped(&mut list, 2), &*list), (Some(2), &[0, 3][..]));
        assert_eq!((take_swapped(&mut list, 2), &*list), (None, &[0, 3][..]));
        list.clear();
        assert_eq!(take_swapped(&mut list, 0), None);
    }
}
