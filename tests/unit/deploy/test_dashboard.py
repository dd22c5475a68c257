"""The dashboard can be provisioned, and follows the rules that keep it readable."""

from tests.support.deploy_files import dashboard, panels, read_yaml


def test_it_has_one_row_for_each_part_of_the_flow() -> None:
    rows = [panel["title"] for panel in dashboard()["panels"] if panel["type"] == "row"]
    assert rows == [
        "The answer",
        "Events arrive: emitters and gateway",
        "Events are counted: Kafka and aggregator",
        "Usage is reported: reporter and Stripe",
        "Processes",
    ]


def test_ids_are_unique_and_no_panel_covers_another() -> None:
    everything = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    cells: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert all(0 <= x < 24 for x, _ in own)
        assert not cells & own, panel["title"]
        cells |= own


def test_every_panel_says_what_it_shows_in_which_unit_and_from_which_source() -> None:
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}


def test_job_and_instance_narrow_every_series_that_a_target_exports() -> None:
    for panel in panels():
        for target in panel["targets"]:
            plain = (
                "ALERTS" in target["expr"] or "taximeter:" in target["expr"] or "taximeter_emitter" in target["expr"] or "min by" in target["expr"]
            )
            assert plain or 'job=~"$job", instance=~"$instance"' in target["expr"], panel["title"]


def test_what_was_taken_back_is_shown() -> None:
    (panel,) = [each for each in panels() if each["title"] == "Units taken back"]
    shown = " ".join(target["expr"] for target in panel["targets"])
    assert "taximeter_reporter_quantity_back_total" in shown
    assert 'kind=~"cancel|negate"' in shown


def test_its_variables_are_the_source_the_job_the_instance_and_where_links_lead() -> None:
    assert [variable["name"] for variable in dashboard()["templating"]["list"]] == ["datasource", "job", "instance", "runbooks", "console"]
    assert [link["url"] for link in dashboard()["links"]] == ["${runbooks}", "${console}"]


def test_the_first_row_says_whether_we_bill_what_waits_and_what_needs_a_person() -> None:
    first = [panel["title"] for panel in panels() if panel["gridPos"]["y"] == 1]
    assert first[:2] == ["Are we billing?", "Needs a person"]
    assert {"Units that wait", "Caught up in", "Next period ends in", "Not billed (24 h)"} <= set(first)
    (refused,) = [panel for panel in panels() if panel["title"] == "Not billed (24 h)"]
    assert "taximeter_reporter_async_rejections_total" in refused["targets"][0]["expr"]


def test_a_name_in_the_list_of_alerts_leads_to_its_runbook() -> None:
    (alerts,) = [panel for panel in panels() if panel["type"] == "table"]
    links = [each["value"] for override in alerts["fieldConfig"]["overrides"] for each in override["properties"] if each["id"] == "links"]
    assert links[0][0]["url"] == "${runbooks}/${__data.fields.alertname}.md"


def test_what_is_filtered_shows_a_zero_when_nothing_is_left() -> None:
    for panel in panels():
        for target in panel["targets"]:
            assert not target["expr"].endswith("> 0"), f"{panel['title']} is empty in a healthy system"


def test_it_is_provisioned_and_cannot_be_edited_in_place() -> None:
    provider = read_yaml("grafana/provisioning/dashboards/taximeter.yml")["providers"][0]
    grafana = read_yaml("docker-compose.yml")["services"]["grafana"]
    mounts = {mount["target"]: mount["source"] for mount in grafana["volumes"] if isinstance(mount, dict)}
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    assert dashboard()["editable"] is False
    assert provider["allowUiUpdates"] is False
    source = read_yaml("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    assert dashboard()["templating"]["list"][0]["current"]["value"] == source["uid"]
