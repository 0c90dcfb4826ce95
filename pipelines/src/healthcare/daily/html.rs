//! Reports as one page that needs nothing from elsewhere: no script, no font, no link.

/// A page is a title, a verdict, and tables.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) title: String,
    /// A word that is also the class it is shown in: `pass`, `warn` or `fail`; nothing when empty.
    pub(super) verdict: &'static str,
    pub(super) tables: Vec<Table>,
}

/// Rows under a heading.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) heading: &'static str,
    pub(super) columns: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Table {
    /// A table of names and numbers.
    pub(super) fn of<N: std::fmt::Display>(
        heading: &'static str,
        rows: impl IntoIterator<Item = (N, u64)>,
    ) -> Self {
        let row = |(name, count): (N, u64)| vec![name.to_string(), count.to_string()];
        Self { heading, columns: vec!["", "count"], rows: rows.into_iter().map(row).collect() }
    }
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;\
color:#1b1f24;background:#fff}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;\
border-bottom:1px solid #d0d7de;vertical-align:top}.pass,.warn,.fail{font-weight:600}\
.pass{color:#116329}.warn{color:#7d4e00}.fail{color:#a40e26}";

impl Page {
    /// The page.
    pub(super) fn render(&self) -> String {
        let title = escaped(&self.title);
        let mut text = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\
             \"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        );
        if !self.verdict.is_empty() {
            text.push_str(&format!("<p class=\"{0}\">{0}</p>\n", self.verdict));
        }
        for table in &self.tables {
            table.render(&mut text);
        }
        text.push_str("</body>\n</html>\n");
        text
    }
}

impl Table {
    fn render(&self, text: &mut String) {
        text.push_str(&format!("<h2>{}</h2>\n<table>\n<tr>", escaped(self.heading)));
        for column in &self.columns {
            text.push_str(&format!("<th scope=\"col\">{}</th>", escaped(column)));
        }
        text.push_str("</tr>\n");
        for row in &self.rows {
            text.push_str("<tr>");
            for cell in row {
                let class = match cell.as_str() {
                    "pass" | "warn" | "fail" => format!(" class=\"{cell}\""),
                    _ => String::new(),
                };
                text.push_str(&format!("<td{class}>{}</td>", escaped(cell)));
            }
            text.push_str("</tr>\n");
        }
        text.push_str("</table>\n");
    }
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_its_cells_as_text_and_asks_for_nothing() {
        let table = Table::of("<Tables> & more", [("<script>\"x\"</script>", 3)]);
        let page = Page { title: "a'b".to_owned(), verdict: "fail", tables: vec![table] };
        let text = page.render();
        assert!(text.contains("<td>&lt;script&gt;&quot;x&quot;&lt;/script&gt;</td><td>3</td>"));
        assert!(text.contains("<h1>a&#39;b</h1>") && text.contains("<p class=\"fail\">fail</p>"));
        for outside in ["<script", "http:", "https:", "src=", "href="] {
            assert!(!text.contains(outside), "{outside}");
        }
    }
}
