package schedule

import (
	"strings"
	"time"
	_ "time/tzdata" // zones are known also on machines without their files
)

// Settings that name the time zone of an app, in order of precedence.
const (
	ZoneSetting   = "WEBSITE_TIME_ZONE"
	SystemSetting = "TZ"
)

// Zone gives the time zone that an app's settings name, UTC when they name none.
// It returns problem.Invalid naming the setting for one that does not exist.
func Zone(setting func(name string) string) (*time.Location, error) {
	for _, name := range []string{ZoneSetting, SystemSetting} {
		if text := strings.TrimSpace(setting(name)); text != "" {
			zone, err := zoneOf(text)
			if err != nil {
				return nil, invalid("setting " + name + ": " + quote(text) + " is no time zone: use an IANA name such as Europe/Berlin, or a Windows name such as W. Europe Standard Time")
			}
			return zone, nil
		}
	}
	return time.UTC, nil
}

// zoneOf finds a zone by its IANA name, which TZ may begin with a colon, or its
// Windows name ignoring case. Local is the host's own affair.
func zoneOf(name string) (*time.Location, error) {
	name = strings.TrimPrefix(name, ":")
	if iana := windowsZones[strings.ToLower(name)]; iana != "" {
		return time.LoadLocation(iana)
	}
	if name == "" || strings.EqualFold(name, "local") {
		return nil, invalid("no name")
	}
	return time.LoadLocation(name)
}
