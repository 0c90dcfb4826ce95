//! Cases of the address mask.

use super::super::tests::check;
use super::*;

#[test]
fn city_and_state_are_all_that_is_shown() {
    check(
        mask_address,
        Parsed::Yes,
        &[
            ("123 Main St, Boston, MA 02115", "Boston, MA"),
            ("123 Main St, Apt 4B, Boston, MA 02115-1234", "Boston, MA"),
            ("123 Main St, Boston MA 02115", "Boston, MA"),
            ("123 Main St\nBoston, Massachusetts 02115\nUSA", "Boston, MA"),
            ("123 Main St\r\nBoston, MA 021151234\r\n", "Boston, MA"),
            ("12 Oak Rd, St. Louis, MO 63101", "St. Louis, MO"),
            ("Winston-Salem, NC 27101", "Winston-Salem, NC"),
            ("PSC 3 Box 1, APO, AE 09012", "APO, AE"),
            ("PSC 3 Box 1, APO AE 09012", "APO, AE"),
            ("Boston, MA", "Boston, MA"),
            ("1 A St, Boston, MA 02115 USA", "Boston, MA"),
            ("1 A St, Boston, MA, 02115, United States", "Boston, MA"),
            ("1 A St, boston, ma 02115", "boston, MA"),
            ("1 A St, New York, New York 10001", "New York, NY"),
            ("1 A St, New York NY 10001", "New York, NY"),
            ("1600 Pennsylvania Ave NW, Washington, D.C. 20500", "Washington, DC"),
            ("1 A St, Charleston West Virginia", "Charleston, WV"),
            ("1 A St, O'Fallon, IL", "O'Fallon, IL"),
            ("1 A St, O\u{2019}Fallon, IL", "O\u{2019}Fallon, IL"),
            ("1 A St, Winston\u{2011}Salem，NC\u{a0}27101", "Winston-Salem, NC"),
            ("1 Calle Sol, Mayagu\u{308}ez, PR 00680", "Mayagüez, PR"),
            ("1 A St, Box Elder, SD 57719", "Box Elder, SD"),
            ("1 A St, Ste. Genevieve, MO", "Ste. Genevieve, MO"),
            ("1 A St, Ave Maria, FL", "Ave Maria, FL"),
            ("1 A St, East St. Louis, IL", "East St. Louis, IL"),
            ("", ""),
            (" \n ", ""),
        ],
    );
}

#[test]
fn a_city_that_cannot_be_one_leaves_the_state() {
    check(
        mask_address,
        Parsed::Yes,
        &[
            ("123 Main St, 4B, MA", "MA"),
            ("123 Main St, Apt B, MA 02115", "MA"),
            ("Suite B, MA", "MA"),
            ("Ste B, MA", "MA"),
            ("# B, MA", "MA"),
            ("P.O. Box, MA", "MA"),
            ("PO Box 12, MA", "MA"),
            ("Main Street, MA 02115", "MA"),
            ("Main St, MA 02115", "MA"),
            ("Main Road Boston MA 02115", "MA"),
            ("123 Main St Boston MA 02115", "MA"),
            ("c/o Jane Doe, MA", "MA"),
            ("***, MA", "MA"),
            ("Floor ٣, MA", "MA"),
            ("MA 02115", "MA"),
            ("Massachusetts", "MA"),
            ("MA", "MA"),
        ],
    );
    let long = format!("1 A St, {}, MA", "Bo".repeat(40));
    check(mask_address, Parsed::Yes, &[(&long, "MA")]);
}

#[test]
fn an_address_without_a_state_is_fully_masked() {
    let inputs = [
        "123 Main St",
        "10 Downing St, London SW1A 2AA, UK",
        "Toronto, ON M5V 2T6",
        "12 Rue de la",
        "Boston, MA 02115, Suffolk County",
        "Boston, MA 0211",
        "02115",
        "USA",
        "USA, USA, USA",
        ",,,",
        "東京都千代田区",
        "é",
    ];
    for input in inputs {
        check(mask_address, Parsed::No, &[(input, "***")]);
    }
    check(mask_address, Parsed::Yes, &[("***", "***")]);
}
