package app

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/latchkey/latchkey/internal/problem"
	"github.com/latchkey/latchkey/internal/resource"
	"github.com/latchkey/latchkey/internal/state"
)

// Limits of settings; the bytes of all of them together are bounded by
// [MaxSection].
const (
	MaxSettings     = 1000
	MaxSettingName  = 256      // bytes
	MaxSettingValue = 64 << 10 // bytes
)

// Connection is a connection string.
type Connection struct {
	Value string `json:"value"`
	Type  string `json:"type"` // "SQLAzure", "Custom", …
}

// connectionTypes are the types by their spelling, with the prefix a program
// finds the connection string under in its environment.
var connectionTypes = map[string]string{
	"MySql": "MYSQLCONNSTR_", "SQLServer": "SQLCONNSTR_", "SQLAzure": "SQLAZURECONNSTR_", "Custom": "CUSTOMCONNSTR_",
	"NotificationHub": "NOTIFICATIONHUBCONNSTR_", "ServiceBus": "SERVICEBUSCONNSTR_", "EventHub": "EVENTHUBCONNSTR_",
	"ApiHub": "APIHUBCONNSTR_", "DocDb": "DOCDBCONNSTR_", "RedisCache": "REDISCACHECONNSTR_", "PostgreSQL": "POSTGRESQLCONNSTR_",
}

// Variable gives the name of the environment variable that a connection string
// called name is found under.
func (c Connection) Variable(name string) string {
	for typ, prefix := range connectionTypes {
		if strings.EqualFold(typ, c.Type) {
			return prefix + name
		}
	}
	return "CUSTOMCONNSTR_" + name
}

// Settings reads the app settings, values as they were set: references are not
// resolved. The revision is what SetSettings takes as a condition.
func (a *Apps) Settings(ctx context.Context, id resource.ID) (map[string]string, state.Revision, error) {
	return readMap[string](ctx, a, id, AppSettings)
}

// SettingsOf reads the app settings of an app that has been read already.
func (a *Apps) SettingsOf(ctx context.Context, app App) (map[string]string, error) {
	v, err := a.SectionOf(ctx, app, AppSettings)
	if err != nil {
		return nil, err
	}
	return decodeMap[string](app.ID, AppSettings, v.JSON)
}

// SetSettings replaces the app settings. Names that differ only in case, names
// and values no environment can hold, and too many of them are refused with
// problem.Invalid or problem.TooLarge, naming the setting. cond is as for
// UpdateSection.
func (a *Apps) SetSettings(ctx context.Context, id resource.ID, by string, settings map[string]string, cond state.Revision) (Value, error) {
	if err := CheckSettings(settings); err != nil {
		return Value{}, err
	}
	return setMap(ctx, a, id, by, AppSettings, settings, cond)
}

// ChangeSettings changes single settings of what there are; change may run more
// than once. Errors are those of [Apps.SetSettings] without a condition.
func (a *Apps) ChangeSettings(ctx context.Context, id resource.ID, by string, change func(settings map[string]string)) (Value, error) {
	return a.UpdateSection(ctx, id, by, AppSettings, state.Any, func(old json.RawMessage) (json.RawMessage, error) {
		settings, err := decodeMap[string](id, AppSettings, old)
		if err != nil {
			return nil, err
		}
		change(settings)
		if err := CheckSettings(settings); err != nil {
			return nil, err
		}
		return json.Marshal(settings)
	})
}

// Connections reads the connection strings; see [Apps.Settings].
func (a *Apps) Connections(ctx context.Context, id resource.ID) (map[string]Connection, state.Revision, error) {
	return readMap[Connection](ctx, a, id, ConnectionStrings)
}

// SetConnections replaces the connection strings; see [Apps.SetSettings].
func (a *Apps) SetConnections(ctx context.Context, id resource.ID, by string, connections map[string]Connection, cond state.Revision) (Value, error) {
	connections, err := checkConnections(connections)
	if err != nil {
		return Value{}, err
	}
	return setMap(ctx, a, id, by, ConnectionStrings, connections, cond)
}

func readMap[T any](ctx context.Context, a *Apps, id resource.ID, s Section) (map[string]T, state.Revision, error) {
	v, err := a.Section(ctx, id, s)
	if err != nil {
		return nil, 0, err
	}
	m, err := decodeMap[T](id, s, v.JSON)
	return m, v.Revision, err
}

func decodeMap[T any](id resource.ID, s Section, text json.RawMessage) (map[string]T, error) {
	m := map[string]T{}
	if text == nil {
		return m, nil
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, problem.Wrap(problem.Undecryptable, fmt.Sprintf("%s of app %q cannot be understood", s, id.Name()), err)
	}
	return m, nil
}

func setMap[T any](ctx context.Context, a *Apps, id resource.ID, by string, s Section, m map[string]T, cond state.Revision) (Value, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return Value{}, problem.Wrap(problem.Internal, fmt.Sprintf("%s cannot be stored", s), err)
	}
	return a.SetSection(ctx, id, by, s, text, cond)
}

// CheckSettings says what is wrong with settings: problem.Invalid or
// problem.TooLarge, naming the setting; never its value.
func CheckSettings(settings map[string]string) error {
	if err := checkNames("setting", slices.Collect(maps.Keys(settings))); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if err := checkValue("setting", name, settings[name]); err != nil {
			return err
		}
	}
	return nil
}

// checkConnections also gives types the spelling they have.
func checkConnections(connections map[string]Connection) (map[string]Connection, error) {
	if err := checkNames("connection string", slices.Collect(maps.Keys(connections))); err != nil {
		return nil, err
	}
	out := make(map[string]Connection, len(connections))
	for _, name := range slices.Sorted(maps.Keys(connections)) {
		c := connections[name]
		if err := checkValue("connection string", name, c.Value); err != nil {
			return nil, err
		}
		typ, known := spelled(slices.Sorted(maps.Keys(connectionTypes)), c.Type)
		if !known {
			return nil, problem.New(problem.Invalid, fmt.Sprintf("connection string %q has the unknown type %q", name, clip(c.Type))).
				WithNext("use one of " + strings.Join(slices.Sorted(maps.Keys(connectionTypes)), ", "))
		}
		out[name] = Connection{c.Value, typ}
	}
	return out, nil
}

func spelled(known []string, text string) (string, bool) {
	for _, k := range known {
		if strings.EqualFold(k, text) {
			return k, true
		}
	}
	return "", false
}

func checkNames(what string, names []string) error {
	if len(names) > MaxSettings {
		return problem.New(problem.TooLarge, fmt.Sprintf("an app has at most %d of these: %s, not %d", MaxSettings, what, len(names)))
	}
	slices.Sort(names)
	seen := make(map[string]string, len(names))
	for _, name := range names {
		if why := badName(name); why != "" {
			return problem.New(problem.Invalid, fmt.Sprintf("%q is no name of a %s: %s", clip(name), what, why))
		}
		lower := strings.ToLower(name)
		if other, twice := seen[lower]; twice {
			return problem.New(problem.Invalid, fmt.Sprintf("%ss %q and %q differ only in case", what, other, name)).
				WithNext("keep one of them: programs look them up without regard to case")
		}
		seen[lower] = name
	}
	return nil
}

func badName(name string) string {
	switch {
	case name == "":
		return "it is empty"
	case len(name) > MaxSettingName:
		return fmt.Sprintf("it has more than %d bytes", MaxSettingName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }):
		return "it has characters that cannot be seen"
	case strings.TrimSpace(name) != name:
		return "it begins or ends with a space"
	case strings.Contains(name, "="):
		return "it has an equals sign, which no environment variable can have"
	}
	return ""
}

func checkValue(what, name, value string) error {
	switch {
	case len(value) > MaxSettingValue:
		return problem.New(problem.TooLarge, fmt.Sprintf("%s %q has %d bytes, more than the limit of %d", what, name, len(value), MaxSettingValue))
	case !utf8.ValidString(value) || strings.Contains(value, "\x00"):
		return problem.New(problem.Invalid, fmt.Sprintf("%s %q has a zero byte or is no text, which no environment variable can be", what, name))
	}
	return nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
