//! The `Date` field: IMF-fixdate (RFC 9110, section 5.6.7).

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

const SECONDS_PER_DAY: u64 = 86_400;

/// The line of a head that tells a time, with the end of the line before.
pub type Date = [u8; 37];

/// Where the `Date` of answers comes from.
pub trait Clock {
    /// The present time, where the machine knows it.
    fn date(&self) -> Option<Date>;
}

/// The line `Date: Sun, 06 Nov 1994 08:49:37 GMT` of a time in whole seconds since 1970-01-01 UTC.
///
/// The form has four digits for the year; from the year 10000 on the digits above them are lost.
pub fn imf_fixdate(seconds: u64) -> Date {
    let days = seconds / SECONDS_PER_DAY;
    let second = seconds % SECONDS_PER_DAY;
    let (year, month, day) = civil(days);
    let mut line = *b"\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT";
    let text = &mut line[8..];
    text[0..3].copy_from_slice(DAYS[(days % 7) as usize]);
    digits(&mut text[5..7], u64::from(day));
    text[8..11].copy_from_slice(MONTHS[usize::from(month)]);
    digits(&mut text[12..16], year);
    digits(&mut text[17..19], second / 3600);
    digits(&mut text[20..22], second / 60 % 60);
    digits(&mut text[23..25], second % 60);
    line
}

/// Writes the last digits of `number`, as many as there is room for.
fn digits(field: &mut [u8], mut number: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Year, month from 0 and day from 1 of a day counted from 1970-01-01, in the Gregorian calendar.
///
/// Years are counted from March here, so that the leap day is a year's last one and the lengths of the months before it
/// follow the line (153 m + 2) / 5.
fn civil(days: u64) -> (u64, u8, u8) {
    // Day 0 of this count is the 1st of March of the year 0.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    (year, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(seconds: u64) -> std::string::String {
        let line = imf_fixdate(seconds);
        let line = std::str::from_utf8(&line).expect("the form is ASCII");
        line.strip_prefix("\r\nDate: ").expect("a line").into()
    }

    #[test]
    fn known_dates() {
        assert_eq!(text(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        // The example of RFC 9110.
        assert_eq!(text(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(text(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(text(951_868_800), "Wed, 01 Mar 2000 00:00:00 GMT");
        assert_eq!(text(4_107_542_399), "Sun, 28 Feb 2100 23:59:59 GMT");
        assert_eq!(text(4_107_542_400), "Mon, 01 Mar 2100 00:00:00 GMT");
    }

    #[test]
    fn days_follow_each_other_for_four_hundred_years() {
        let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let (mut year, mut month, mut day) = (1970, 0_u8, 1_u8);
        for days in 0..146_097 {
            assert_eq!(civil(days), (year, month, day), "day {days}");
            let length = match month {
                1 => 28 + u8::from(leap(year)),
                3 | 5 | 8 | 10 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month == 12 {
                (month, year) = (0, year + 1);
            }
        }
    }

    #[test]
    fn the_last_second_of_the_clock_has_a_form() {
        assert!(text(u64::MAX / 1_000_000_000).starts_with("Sun, 21 Jul 2554"));
        assert_eq!(imf_fixdate(u64::MAX / 2).len(), 37);
    }
}
