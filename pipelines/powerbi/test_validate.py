"""That validate.py finds what it is there to find: each test breaks one thing in a copy of the project.

python -m unittest discover -s pipelines/powerbi; THALWEG_TABLES names a data folder of the pipeline.
"""

import argparse
import contextlib
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import validate  # noqa: E402
from checks import database, directquery, grafana, layout, model  # noqa: E402

MODEL, REPORT = "Healthcare.SemanticModel/definition", "Healthcare.Report/definition"
MINUTE = f"{MODEL}/tables/Vitals by Minute.tmdl"
TREND = f"{REPORT}/pages/monitoring/visuals/heart-rate-trend/visual.json"
BOARD = "grafana/dashboards/thalweg-monitoring.json"


SHOWN = {
    "patients": "count(distinct patient_id)",
    "heart-rate": "avg(heart_rate)",
    "temperature": "avg(temperature)",
    "spo2": "avg(spo2)",
    "respiratory-rate": "avg(respiratory_rate)",
}


class Numbers(unittest.TestCase):
    def setUp(self):
        self.source = database.Tables(os.environ["THALWEG_TABLES"])
        wanted = ", ".join(SHOWN.values())
        on_time = "not exists (select 1 from late_events l where l.partition = s.partition and l.offset = s.offset)"
        sql = f"select {wanted} from silver_events s where {on_time}"
        self.readings = dict(zip(SHOWN, self.source.query(sql)[1][0]))

    def test_power_bis_cards_show_what_the_single_readings_give(self):
        semantic, _ = model.load(HERE / MODEL)
        cards = {v.name: v for page in layout.load(HERE / REPORT) if page.name == "kpis" for v in page.visuals}
        for name, expected in self.readings.items():
            _, _, ((value,),) = directquery.answer(self.source, cards[name], semantic, None)
            self.assertAlmostEqual(value, expected, 6, name)

    def test_grafanas_numbers_are_what_the_single_readings_give(self):
        times = self.source.query("select min(window_start) as a, max(window_end) as b from gold_kpis")[1][0]
        panels = grafana.load(HERE.parent / "grafana")["thalweg-kpis.json"]["panels"]
        stats = [panel["targets"][0]["rawSql"] for panel in panels if panel["type"] == "stat"]
        for sql, (name, expected) in zip(stats, self.readings.items(), strict=True):
            ((value,),) = self.source.query(grafana.expand(sql, times, {}))[1]
            self.assertAlmostEqual(value, expected, 6, name)


class Validate(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name in ("Healthcare.pbip", "Healthcare.Report", "Healthcare.SemanticModel"):
            copy = shutil.copytree if (HERE / name).is_dir() else shutil.copy
            copy(HERE / name, self.folder / name)
        shutil.copytree(HERE.parent / "grafana", self.folder / "grafana")

    def faults(self, tables=True):
        given = argparse.Namespace(
            project=self.folder,
            grafana=self.folder / "grafana",
            tables=os.environ["THALWEG_TABLES"] if tables else None,
            sql=None,
        )
        with contextlib.redirect_stdout(io.StringIO()):
            return list(validate.check(given))

    def replace(self, file, old, new):
        path = self.folder / file
        text = path.read_text("utf-8")
        self.assertIn(old, text)
        path.write_text(text.replace(old, new), "utf-8")

    def finds(self, fault):
        found = self.faults()
        self.assertTrue(any(re.search(fault, line) for line in found), found)

    def test_the_project_as_it_is_has_no_fault(self):
        self.assertEqual(self.faults(), [])

    def test_an_unknown_property_of_a_page_breaks_its_schema(self):
        self.replace(f"{REPORT}/pages/kpis/page.json", '"displayOption"', '"colour": 1, "displayOption"')
        self.finds(r"kpis/page.json: at \$: .*colour")

    def test_a_display_option_that_there_is_not_breaks_the_schema(self):
        self.replace(f"{REPORT}/pages/kpis/page.json", "FitToPage", "FitToMoon")
        self.finds(r"kpis/page.json: at \$.displayOption")

    def test_a_file_of_another_schema_is_refused(self):
        self.replace(TREND, "visualContainer/2.2.0", "visualContainer/9.9.9")
        self.finds(r"\$schema is not in schemas")

    def test_a_type_that_tmdl_has_not_is_refused_by_name_of_its_file(self):
        self.replace(MINUTE, "dataType: int64", "dataType: int65")
        self.finds(r"TMDL parser refuses tables/Vitals by Minute.tmdl")

    def test_wrong_indentation_of_tmdl_is_refused(self):
        self.replace(MINUTE, "\tpartition", "partition")
        self.finds("TMDL parser refuses")

    def test_a_relationship_to_a_column_that_there_is_not_is_refused(self):
        self.replace(f"{MODEL}/relationships.tmdl", "toColumn: Date.Date", "toColumn: Date.Day")
        self.finds("refuses|TMDL")

    def test_m_that_cannot_be_read_is_refused(self):
        self.replace(f"{MODEL}/expressions.tmdl", "List.Accumulate(Vitals", "List.Accumulate((Vitals")
        self.finds("M of FromDelta")

    def test_dax_that_cannot_be_read_is_refused(self):
        self.replace(MINUTE, "SUM('Vitals by Minute'[Events])", "SUM('Vitals by Minute'[Events]")
        self.finds(r"DAX of \[Readings\]")

    def test_dax_about_a_column_that_there_is_not_is_refused(self):
        self.replace(MINUTE, "SUM('Vitals by Minute'[Events])", "SUM('Vitals by Minute'[Evenings])")
        self.finds(r"no column 'Vitals by Minute'\[Evenings\]")

    def test_a_visual_of_a_measure_that_there_is_not_is_refused(self):
        self.replace(TREND, '"Property": "Average heart rate"', '"Property": "Average shoe size"')
        self.finds(r"no measure Vitals by Minute\[Average shoe size\]")

    def test_a_page_without_automatic_refresh_is_refused(self):
        self.replace(f"{REPORT}/pages/monitoring/page.json", "'PT30S'", "'30'")
        self.finds("page monitoring: no automatic page refresh")

    def test_a_page_that_has_lost_a_visual_is_refused(self):
        shutil.rmtree((self.folder / TREND).parent)
        self.finds("page Real-time monitoring: heart-rate-trend is missing")

    def test_visuals_that_lie_over_one_another_are_refused(self):
        self.replace(TREND, '"x": 648', '"x": 600')
        self.finds("lies over")

    def test_a_model_column_that_the_query_does_not_give_is_refused(self):
        self.replace(MINUTE, "sourceColumn: events", "sourceColumn: evenings")
        self.finds(r"gives no column evenings")

    def test_a_query_about_a_column_that_the_table_has_not_is_refused(self):
        self.replace(MINUTE, "heart_rate_mean", "heart_rate_median")
        self.finds(r"table Vitals by Minute: .*heart_rate_median")

    def test_a_column_of_another_type_than_the_model_says_is_refused(self):
        self.replace(MINUTE, "  events, patients,", "  cast(events as double precision) as events, patients,")
        self.finds(r"column events is Double, the model says Int64")

    def test_a_visual_that_groups_by_an_unrelated_table_is_refused(self):
        minute = '"Entity": "{}"\n                    }}\n                  }},\n                  "Property": "Minute"'
        self.replace(TREND, minute.format("Vitals by Minute"), minute.format("Medications"))
        self.finds(r"Medications\[Minute\] is not related to Vitals by Minute")

    def test_a_query_without_rows_is_refused(self):
        self.replace(
            f"{MODEL}/tables/Medications.tmdl",
            "from public.gold_medications",
            "from public.gold_medications where events < 0",
        )
        self.finds("no rows")

    def test_bad_sql_of_a_panel_is_refused(self):
        self.replace(BOARD, "from gold_medications", "from gold_medicines")
        self.finds(r"panel Medications given: .*gold_medicines")

    def test_a_panel_without_rows_is_refused(self):
        self.replace(BOARD, "from gold_medications\\nwhere", "from gold_medications\\nwhere events < 0 and")
        self.finds(r"panel Medications given: no rows")

    def test_a_time_series_without_a_time_is_refused(self):
        self.replace(BOARD, 'window_start as \\"time\\"', 'window_start as \\"minute\\"')
        self.finds("a time series needs a column time")

    def test_all_values_as_a_list_are_refused_for_it_may_be_empty(self):
        self.replace(BOARD, '"allValue": "event_type",', "")
        self.finds("event_type All is a list")

    def test_what_stands_for_all_values_has_to_run(self):
        self.replace(BOARD, '"allValue": "event_type"', '"allValue": "no_column"')
        self.finds("panel .*no_column")

    def test_a_panel_of_a_data_source_that_is_not_provisioned_is_refused(self):
        self.replace("grafana/provisioning/datasources/thalweg.yaml", "uid: thalweg-sql", "uid: other")
        self.finds("its data source is not provisioned")

    def test_a_password_in_the_data_source_is_refused(self):
        self.replace(
            "grafana/provisioning/datasources/thalweg.yaml", "$__file{/run/secrets/grafana-sql-password}", "secret"
        )
        self.finds("its password comes from no file")


if __name__ == "__main__":
    unittest.main()
