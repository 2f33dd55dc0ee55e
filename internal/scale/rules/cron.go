package rules

import (
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/trigger/schedule"
)

// Window is a time that comes again and again. It does not change and is safe for
// concurrent use.
type Window struct{ start, end *schedule.Schedule }

// Open reports whether a moment is in the window: it ends before it starts again.
func (w *Window) Open(at time.Time) bool {
	start, end := w.start.Next(at), w.end.Next(at)
	return !end.IsZero() && (start.IsZero() || end.Before(start))
}

// cron reads a rule that asks for a number of replicas at times.
func (r *Rule) cron(metadata map[string]string) {
	r.Kind, r.Unit, r.Window = Cron, "replicas", &Window{}
	r.Target = r.number(metadata, "desiredReplicas", 0)
	r.positive("desiredReplicas")
	zone, err := schedule.Zone(func(name string) string {
		if name == schedule.ZoneSetting {
			return metadata["timezone"]
		}
		return ""
	})
	if err != nil || metadata["timezone"] == "" {
		r.fault("timezone", "must be an IANA name such as Europe/Berlin, not "+strconv.Quote(metadata["timezone"]))
		return
	}
	r.Window.start = r.moments(metadata, "start", zone)
	r.Window.end = r.moments(metadata, "end", zone)
	if strings.Join(strings.Fields(metadata["start"]), " ") == strings.Join(strings.Fields(metadata["end"]), " ") {
		r.fault("end", "must not be the same as start")
	}
}

func (r *Rule) moments(metadata map[string]string, key string, zone *time.Location) *schedule.Schedule {
	text := metadata[key]
	if n := len(strings.Fields(text)); n != 5 {
		r.fault(key, "must be five fields (minute hour day month weekday), not "+strconv.Quote(text))
		return nil
	}
	s, err := schedule.Parse(text, zone)
	if err != nil {
		r.fault(key, "is no such time: "+err.Error())
	}
	return s
}
