package schedule

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/latchkey/latchkey/internal/problem"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := zoneOf(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

const stamp = "2006-01-02 15:04:05 -0700"

func TestNext(t *testing.T) {
	const berlin = "Europe/Berlin" // clocks go on at 02:00 on 2026-03-29 and back at 03:00 on 2026-10-25
	for _, tt := range []struct {
		name, text, zone, after string
		want                    []string
	}{
		{"strictly after", "0 0 * * * *", "UTC", "2026-01-01 10:00:00 +0000", []string{"2026-01-01 11:00:00 +0000"}},
		{"fractions count as after", "* * * * * *", "UTC", "2026-01-01 10:00:00 +0000", []string{"2026-01-01 10:00:01 +0000"}},
		{"five fields", "*/5 * * * *", "UTC", "2026-01-01 10:01:00 +0000", []string{"2026-01-01 10:05:00 +0000", "2026-01-01 10:10:00 +0000"}},
		{"a step from a value goes to the end", "40/10 0 0 * * *", "UTC", "2026-01-01 00:00:00 +0000", []string{"2026-01-01 00:00:40 +0000", "2026-01-01 00:00:50 +0000", "2026-01-02 00:00:40 +0000"}},
		{"names", "0 0 9 * jan Mon,FRIDAY", "UTC", "2026-01-01 00:00:00 +0000", []string{"2026-01-02 09:00:00 +0000", "2026-01-05 09:00:00 +0000", "2026-01-09 09:00:00 +0000"}},
		{"both day fields must fit", "0 0 0 13 * 5", "UTC", "2026-01-01 00:00:00 +0000", []string{"2026-02-13 00:00:00 +0000", "2026-03-13 00:00:00 +0000", "2026-11-13 00:00:00 +0000"}},
		{"a range the other way round", "0 0 11-9 * * *", "UTC", "2026-01-01 00:00:00 +0000", []string{"2026-01-01 09:00:00 +0000", "2026-01-01 10:00:00 +0000", "2026-01-01 11:00:00 +0000", "2026-01-02 09:00:00 +0000"}},
		{"leap days", "0 0 0 29 2 *", "UTC", "2026-01-01 00:00:00 +0000", []string{"2028-02-29 00:00:00 +0000", "2032-02-29 00:00:00 +0000"}},
		{"leap days over a century", "0 0 0 29 2 1", "UTC", "2080-01-01 00:00:00 +0000", []string{"2112-02-29 00:00:00 +0000"}},
		{"a zone's table ends in 2037", "0 0 3 31 12 *", berlin, "2040-12-31 02:00:00 +0100", []string{"2040-12-31 03:00:00 +0100", "2041-12-31 03:00:00 +0100"}},
		{"the last day of long months", "0 0 0 31 * *", "UTC", "2026-01-31 00:00:00 +0000", []string{"2026-03-31 00:00:00 +0000"}},
		{"a skipped time happens later", "0 30 2 * * *", berlin, "2026-03-28 02:30:00 +0100", []string{"2026-03-29 03:30:00 +0200", "2026-03-30 02:30:00 +0200"}},
		{"skipped times of a series fall on others", "0 30 * * * *", berlin, "2026-03-29 01:30:00 +0100", []string{"2026-03-29 03:30:00 +0200", "2026-03-29 04:30:00 +0200"}},
		{"a repeated time of day happens once", "0 30 2 * * *", berlin, "2026-10-24 02:30:00 +0200", []string{"2026-10-25 02:30:00 +0200", "2026-10-26 02:30:00 +0100"}},
		{"not again when asked in between", "0 30 2 * * *", berlin, "2026-10-25 02:10:00 +0100", []string{"2026-10-26 02:30:00 +0100"}},
		{"a series goes on in a repeated hour", "0 */30 * * * *", berlin, "2026-10-25 02:00:00 +0200", []string{"2026-10-25 02:30:00 +0200", "2026-10-25 02:00:00 +0100", "2026-10-25 02:30:00 +0100", "2026-10-25 03:00:00 +0100"}},
		{"midnight can be skipped", "0 0 0 * * *", "Africa/Cairo", "2026-04-23 00:00:00 +0200", []string{"2026-04-24 01:00:00 +0300", "2026-04-25 00:00:00 +0300"}},
		{"half an hour can be skipped", "0 15 2 * * *", "Australia/Lord_Howe", "2026-10-03 02:15:00 +1030", []string{"2026-10-04 02:45:00 +1100", "2026-10-05 02:15:00 +1100"}},
		{"an interval", "00:05:30", berlin, "2026-03-29 01:58:00 +0100", []string{"2026-03-29 03:03:30 +0200", "2026-03-29 03:09:00 +0200"}},
		{"an interval of days", "1.00:00:00", "UTC", "2026-01-01 00:00:07 +0000", []string{"2026-01-02 00:00:07 +0000"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse(tt.text, zone(t, tt.zone))
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(stamp, tt.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tt.want {
				if at = s.Next(at); at.Format(stamp) != want {
					t.Fatalf("got %s, want %s", at.Format(stamp), want)
				}
			}
		})
	}
}

func TestBadSchedulesNameTheFieldAndTheRule(t *testing.T) {
	for text, want := range map[string]string{
		"":                     "or 5 without",
		"* * * *":              "6 fields",
		"* * * * * * *":        "not 7",
		"60 * * * * *":         `field second: "60" is not understood: it goes from 0 to 59`,
		"0 0 24 * * *":         "field hour",
		"0 0 0 0 * *":          "it goes from 1 to 31",
		"0 0 0 * 13 *":         "field month",
		"0 0 0 * * 7":          "Sunday is 0",
		"0 0 0 * * mo":         "English names such as sun",
		"0 0 0 1-32 * *":       "field day of the month",
		"*/0 * * * * *":        "a step is a whole number of at least 1",
		"*/-1 * * * * *":       "a step",
		"0 1,,2 * * * *":       `field minute: ""`,
		"0 1- * * * *":         "field minute",
		"0 0 0 ? * *":          `"?"`,
		"0 0 0 L * *":          `"L"`,
		"0 0 0 30 2 *":         "never comes true",
		"0 0 0 31 4,6,9,11 *":  "never comes true",
		"@daily":               "neither a CRON expression",
		"00:00:00":             "at least one second",
		"-00:01:00":            "at least one second",
		"0 +1 * * * *":         "field minute",
		"0 0 0 1 january2 *":   "field month",
		"0 99999999999 * * * ": "field",
	} {
		_, err := Parse(text, time.UTC)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, problem.Invalid) {
			t.Errorf("%q: %v, want problem.Invalid with %q", text, err, want)
		}
	}
}

func TestFrequent(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]bool{
		"*/30 * * * * *": true, "0 * * * * *": false, "0,1 0 * * * *": true, "00:00:59": true, "00:01:00": false, "0 0 0 * * *": false,
	} {
		s, err := Parse(text, time.UTC)
		if err != nil || s.Frequent(at) != want {
			t.Errorf("%s: %v, %v", text, !want, err)
		}
	}
}

func TestZonesAreFoundByAllNames(t *testing.T) {
	for value, want := range map[string]string{
		"": "UTC", "Europe/Berlin": "Europe/Berlin", "W. Europe Standard Time": "Europe/Berlin", "pacific standard time": "America/Los_Angeles",
		":Asia/Tokyo": "Asia/Tokyo", "UTC": "Etc/UTC", "Eastern Standard Time": "America/New_York",
	} {
		z, err := Zone(func(name string) string {
			return map[string]string{ZoneSetting: value, SystemSetting: "Asia/Kolkata"}[name]
		})
		if value == "" {
			want = "Asia/Kolkata"
		}
		if err != nil || z.String() != want {
			t.Errorf("%q: %v, %v, want %s", value, z, err, want)
		}
	}
	for _, value := range []string{"Mars/Olympus", "Local", "../../etc/passwd", ":"} {
		_, err := Zone(func(string) string { return value })
		if !errors.Is(err, problem.Invalid) || !strings.Contains(err.Error(), ZoneSetting) {
			t.Errorf("%q: %v", value, err)
		}
	}
	if z, err := Zone(func(string) string { return "" }); z != time.UTC || err != nil {
		t.Errorf("nothing set: %v, %v", z, err)
	}
	for name, iana := range windowsZones {
		if _, err := time.LoadLocation(iana); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// occurs decides about one second by itself, without looking for it: the
// reference of the search.
func occurs(c *cron, at time.Time, z *time.Location) bool {
	local := at.In(z)
	shown := wall(at, offsetOf(local))
	if c.names(shown) && (c.interval || !shownBefore(at, shown, z)) {
		return true
	}
	for back := 30 * time.Minute; back <= 2*time.Hour; back += 30 * time.Minute { // a skipped time that happens now?
		then := shown.Add(-back)
		if y, m, d := then.Date(); c.names(then) {
			guess := time.Date(y, m, d, then.Hour(), then.Minute(), then.Second(), 0, z)
			before := offsetOf(at.Add(-back - 3*time.Hour).In(z))
			if !wall(guess, offsetOf(guess)).Equal(then) && then.Add(-before).Equal(at) {
				return true
			}
		}
	}
	return false
}

// shownBefore reports whether a clock showed the same up to two hours before.
func shownBefore(at, shown time.Time, z *time.Location) bool {
	for back := 30 * time.Minute; back <= 2*time.Hour; back += 30 * time.Minute {
		if then := at.Add(-back); wall(then, offsetOf(then.In(z))).Equal(shown) {
			return true
		}
	}
	return false
}

func (c *cron) names(w time.Time) bool {
	return has(c.seconds, w.Second()) && has(c.minutes, w.Minute()) && has(c.hours, w.Hour()) && has(c.days, w.Day()) &&
		has(c.months, int(w.Month())) && has(c.weekdays, int(w.Weekday()))
}

// randomField makes a field in one of the shapes people write.
func randomField(r *rand.Rand, f *field) string {
	v := func() int { return f.min + r.IntN(f.max-f.min+1) }
	switch r.IntN(6) {
	case 0:
		return fmt.Sprint(v())
	case 1:
		return fmt.Sprintf("%d,%d", v(), v())
	case 2:
		return fmt.Sprintf("%d-%d", v(), v())
	case 3:
		return fmt.Sprintf("*/%d", 1+r.IntN(20))
	case 4:
		return fmt.Sprintf("%d-%d/%d", v(), v(), 1+r.IntN(7))
	}
	return "*"
}

func TestNextAgreesWithTheReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	places := []struct {
		zone  string
		start time.Time // some hours before a change of the clocks
	}{
		{"UTC", time.Date(2026, 2, 28, 20, 0, 0, 0, time.UTC)},
		{"Europe/Berlin", time.Date(2026, 3, 28, 22, 0, 0, 0, time.UTC)},
		{"Europe/Berlin", time.Date(2026, 10, 24, 21, 0, 0, 0, time.UTC)},
		{"Australia/Lord_Howe", time.Date(2026, 4, 4, 12, 0, 0, 0, time.UTC)},
		{"Australia/Lord_Howe", time.Date(2026, 10, 3, 12, 0, 0, 0, time.UTC)},
		{"Africa/Cairo", time.Date(2026, 4, 23, 20, 0, 0, 0, time.UTC)},
		{"America/St_Johns", time.Date(2026, 11, 1, 1, 0, 0, 0, time.UTC)},
	}
	for n := range 35 {
		p := places[n%len(places)]
		z := zone(t, p.zone)
		// The days are left open: within hours they would mostly say never.
		text := strings.Join([]string{randomField(r, &fields[0]), randomField(r, &fields[1]), randomField(r, &fields[2]), "*", "*", "*"}, " ")
		s, err := Parse(text, z)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		next := s.Next(p.start)
		for at := p.start.Add(time.Second); at.Before(p.start.Add(6 * time.Hour)); at = at.Add(time.Second) {
			if want := occurs(s.cron, at, z); want != next.Equal(at) {
				t.Fatalf("%s in %s: at %s the reference says %t, Next %s", text, p.zone, at.In(z).Format(stamp), want, next.Format(stamp))
			}
			if next.Equal(at) {
				next = s.Next(at)
			}
		}
	}
}

func TestNextAgreesWithTheReferenceOnDays(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		text := "0 0 0 " + strings.Join([]string{randomField(r, &fields[3]), randomField(r, &fields[4]), randomField(r, &fields[5])}, " ")
		s, err := Parse(text, time.UTC)
		if err != nil {
			continue // never true
		}
		start := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		next := s.Next(start)
		for at := start.AddDate(0, 0, 1); at.Year() < 2033; at = at.AddDate(0, 0, 1) {
			if want := s.cron.names(at); want != next.Equal(at) {
				t.Fatalf("%s: on %s the reference says %t, Next %s", text, at.Format(time.DateOnly), want, next)
			}
			if next.Equal(at) {
				next = s.Next(at)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"0 */5 * * * *", "*/5 * * * *", "0 30 9 * jan-mar mon,fri", "00:05:00", "1.00:00:00", "0 0 0 29 2 1", "5/7 1-3/2 22-2 * * *", "", "a b c d e f"} {
		f.Add(text, int64(1770000000))
	}
	berlin := zone(f, "Europe/Berlin")
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := Parse(text, berlin)
		if err != nil {
			if !errors.Is(err, problem.Invalid) || len(err.Error()) > 400 {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		at := time.Unix(unix%4e9, 0)
		next := s.Next(at)
		if next.IsZero() && !strings.Contains(text, "29") {
			t.Fatalf("%q: no occurrence after %s", text, at)
		}
		if !next.IsZero() && !next.After(at) {
			t.Fatalf("%q: %s is not after %s", text, next, at)
		}
	})
}

func BenchmarkNext(b *testing.B) {
	s, err := Parse("0 30 9 * * mon-fri", zone(b, "Europe/Berlin"))
	if err != nil {
		b.Fatal(err)
	}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		s.Next(at)
	}
}
